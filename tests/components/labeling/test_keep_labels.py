"""Labels brought to a task: whole, or not at all."""

from pathlib import Path

import pytest

from components.errors import BadLabels
from components.labeling.keep import keep_labels
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labels import LabelSpec, read_yolo_labels
from tests.helpers.label_images import make_images

SPEC = LabelSpec(names=("disc", "square"))
SIZE = (100, 80)


def _set(faults: dict[str, str] | None = None, **objects: list[str]) -> LabelSet:
    frames = {
        stem: LabelledFrame(
            f"{stem}.png",
            SIZE,
            frame_labels([LabelledObject(n, (10, 20, 40, 60)) for n in names], SPEC, SIZE, stem),
        )
        for stem, names in objects.items()
    }
    return LabelSet(SPEC, frames, frozenset({"skipped"}), faults or {})


def test_labels_and_the_images_that_came_along_are_kept(tmp_path: Path):
    images = make_images(tmp_path / "given", "a", "b.jpg", "unlabelled")
    told: list[tuple[float, float]] = []
    counts = keep_labels(
        _set(a=["disc", "disc"], b=[]),
        tmp_path / "target",
        images,
        lambda done, total, **facts: told.append((done, total)),
    )
    assert counts == {"images": 2, "objects": 2, "disc": 2, "square": 0}
    assert told == [(1, 2), (2, 2)]
    files = {p.relative_to(tmp_path / "target").as_posix() for p in tmp_path.rglob("target/**/*.*")}
    assert files == {"a.txt", "b.txt", "images/a.png", "images/b.jpg"}
    kept = read_yolo_labels(tmp_path / "target" / "a.txt", SPEC)
    assert kept.boxes_cxcywhn[0] == pytest.approx((0.25, 0.5, 0.3, 0.5))
    assert (tmp_path / "target" / "b.txt").read_text() == ""


def test_labels_of_frames_come_without_images(tmp_path: Path):
    keep_labels(_set(frame_000004=["disc"]), tmp_path / "target", None)
    assert [p.name for p in (tmp_path / "target").iterdir()] == ["frame_000004.txt"]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (_set(a=[], b=[]), "2 images hold no object at all"),
        (_set({str(i): f"F{i}." for i in range(4)}, a=["disc"]), r"of 4 images .* F0\. F1\. F2\.$"),
        (_set(a=["disc"], c=["disc"]), r"\(c\)"),
    ],
)
def test_what_cannot_be_used_leaves_what_was_there(tmp_path: Path, labels, sentence: str):
    target = tmp_path / "target"
    keep_labels(_set(a=["square"]), target)
    before = (target / "a.txt").read_text()
    with pytest.raises(BadLabels, match=sentence):
        keep_labels(labels, target, make_images(tmp_path, "a", "b"))
    assert [p.name for p in target.iterdir()] == ["a.txt"]
    assert (target / "a.txt").read_text() == before
