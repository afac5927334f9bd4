"""Objects by name: what is nearly the task's word is told as that."""

from unicodedata import normalize

import pytest

from components.errors import BadLabels
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec

SPEC = LabelSpec(task="pose", names=("Mäuse",), keypoints=("Nase", "Öhr"))
BOX = (10.0, 10.0, 30.0, 30.0)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["Mäuse", "mäuse", " MÄUSE"])
def test_a_class_that_is_nearly_the_tasks_is_to_be_written_alike(name: str, form: str) -> None:
    theirs = normalize(form, name)
    if theirs == "Mäuse":
        assert len(frame_labels([LabelledObject(theirs, BOX)], SPEC, (64, 48), "a.json")) == 1
        return
    with pytest.raises(BadLabels, match=r"is written 'Mäuse' in the task.*; write both") as no:
        frame_labels([LabelledObject(theirs, BOX)], SPEC, (64, 48), "a.json")
    assert ("look the same" in str(no.value)) == (name == "Mäuse")


def test_a_key_point_is_compared_alike() -> None:
    theirs = LabelledObject("Mäuse", BOX, {normalize("NFD", "Öhr"): (12, 12, 2)})
    with pytest.raises(BadLabels, match="is written 'Öhr' in the task, in other Unicode"):
        frame_labels([theirs], SPEC, (64, 48), "a.json")


def test_another_class_is_none_of_the_tasks() -> None:
    with pytest.raises(BadLabels, match="'Ratte' is none of the task's"):
        frame_labels([LabelledObject("Ratte", BOX)], SPEC, (64, 48), "a.json")


@pytest.mark.parametrize(
    ("names", "keypoints", "sentence"),
    [
        (("Mouse", "mouse"), (), "class names 'Mouse' and 'mouse' repeat one name"),
        (("Mäuse", normalize("NFD", "Mäuse")), (), "repeat one name"),
        (("mouse", "mouse "), (), "'mouse' and 'mouse ' repeat one name"),
        (("mouse",), ("nose", "Nose"), "key points 'nose' and 'Nose' repeat one name"),
        (("mouse",), ("nose", "nose"), "key points 'nose' and 'nose' repeat one name"),
    ],
)
def test_names_that_differ_only_in_how_they_are_written_are_one(
    names: tuple[str, ...], keypoints: tuple[str, ...], sentence: str
) -> None:
    task = "pose" if keypoints else "detect"
    with pytest.raises(BadLabels, match=sentence):
        WantedLabels(task, names, keypoints).check()
    # Those that the labels name, alike.
    with pytest.raises(BadLabels, match=sentence):
        WantedLabels(task).resolve("a.json", names, keypoints)


def test_what_is_not_named_yet_fits() -> None:
    for wanted in (
        WantedLabels(),
        WantedLabels("pose"),
        WantedLabels("pose", ("mouse",)),
        WantedLabels("pose", (), ("l", "r"), (1, 0)),
        WantedLabels("pose", flip_idx=(1, 0)),
    ):
        wanted.check()
    with pytest.raises(BadLabels, match="flip_idx must name each key point once"):
        WantedLabels("pose", flip_idx=(5, 1)).check()
