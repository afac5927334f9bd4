"""A folder among the user's own files as the place where people label."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadLabels, NotFound
from components.labeling.backend import ProjectPlan
from components.labeling.folder_backend import FolderBackend
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from components.settings import Settings
from components.storage import Storage, open_storage
from tests.helpers.label_images import make_images

SPEC = LabelSpec(names=("mouse", "rat"))
WANTED = WantedLabels(names=SPEC.names)
SIZE = 100, 80
STEMS = "frame_000001", "frame_000004", "frame_000009"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = open_storage(Settings(home=tmp_path))
    storage.layout.root.mkdir(parents=True, exist_ok=True)
    return storage


@pytest.fixture
def images(storage: Storage) -> dict[str, Path]:
    return make_images(storage.layout.frames("t-1"), *STEMS)


@pytest.fixture
def backend(storage: Storage) -> FolderBackend:
    return FolderBackend(storage, lambda key: storage.layout.user_file("ada", key))


@pytest.fixture
def project(backend: FolderBackend, storage: Storage, images: object) -> dict[str, Any]:
    return backend.open(_plan(storage))


@pytest.fixture
def label_file(storage: Storage, project: dict[str, Any]) -> Callable[[str], Path]:
    folder = storage.layout.user_file("ada", project["project"])
    return lambda stem: folder / "labels" / f"{stem}.txt"


def _plan(storage: Storage) -> ProjectPlan:
    layout = storage.layout
    frames, found = layout.frames("t-1"), layout.preannotations("t-1")
    return ProjectPlan("arena-t-1", "t-1", frames, found, WANTED)


def _labels(**objects: tuple[str, ...]) -> LabelSet:
    frames = {
        stem: LabelledFrame(
            f"{stem}.png",
            SIZE,
            frame_labels([LabelledObject(n, (10, 20, 40, 60)) for n in names], SPEC, SIZE, ""),
        )
        for stem, names in objects.items()
    }
    return LabelSet(SPEC, frames)


def test_labels_that_are_put_in_are_read_back(backend, project, images):
    assert project == {
        "tool": "folder", "project": "labeling/arena-t-1", "url": "", "frames": 3,
    }  # fmt: skip
    given = _labels(frame_000001=("rat", "mouse"), frame_000004=())
    assert backend.add(project, given) == 2
    read = backend.read(project, WANTED, images)
    assert (read.spec, read.faults, read.frames.keys()) == (SPEC, {}, given.frames.keys())
    for stem, frame in given.frames.items():
        assert read.frames[stem].labels.class_ids.tolist() == frame.labels.class_ids.tolist()
        assert read.frames[stem].labels.boxes_cxcywhn == pytest.approx(
            frame.labels.boxes_cxcywhn, abs=1e-6
        )
    # They take the place of what was there, of these images only.
    assert backend.add(project, _labels(frame_000001=("mouse",))) == 1
    assert backend.read(project, WANTED, images).objects == {"mouse": 1, "rat": 0}
    assert (backend.state(project).labelled, backend.state(project).total) == (2, 3)


def test_the_mark_tells_every_change(backend, project, label_file):
    marks = [backend.state(project).mark]

    def changed() -> bool:
        marks.append(backend.state(project).mark)
        return marks[-1] != marks[-2]

    assert not changed()
    label_file(STEMS[0]).write_text("0 0.5 0.5 0.2 0.2\n")
    assert changed()
    # Of the same length, in the same moment perhaps.
    label_file(STEMS[0]).write_text("1 0.5 0.5 0.2 0.2\n")
    assert changed()
    label_file(STEMS[1]).write_text("")
    assert changed()
    label_file(STEMS[1]).rename(label_file(STEMS[2]))
    assert changed()
    assert backend.state(project).labelled == 2
    label_file(STEMS[2]).unlink()
    assert changed()
    assert backend.state(project).labelled == 1


def test_labels_of_other_images_are_refused_as_a_whole(backend, project):
    strange = _labels(frame_000001=("mouse",), frame_000002=("mouse",))
    with pytest.raises(BadLabels, match=r"1 labels belong to no image .*\(frame_000002\)"):
        backend.add(project, strange)
    assert backend.state(project).labelled == 0


def test_laid_out_again_the_labels_stay(backend, project, storage, label_file):
    label_file(STEMS[0]).write_text("0 0.5 0.5 0.2 0.2\n")
    mark = backend.state(project).mark
    assert backend.open(_plan(storage)) == project
    assert backend.state(project).mark == mark


def test_what_is_wrong_in_a_file_is_said_with_its_place(backend, project, images, label_file):
    label_file(STEMS[0]).write_text("0 0.5 0.5 0.2 0.2\n")
    label_file(STEMS[1]).write_text("2 0.5 0.5 0.2 0.2\n")
    label_file("frame_000002").write_text("0 0.5 0.5 0.2 0.2\n")
    read = backend.read(project, WANTED, images)
    assert (read.frames.keys(), read.faults.keys()) == ({STEMS[0]}, {STEMS[1], "frame_000002"})
    assert f"{STEMS[1]}.txt, line 1: class 2 is unknown" in read.faults[STEMS[1]]
    assert "frame_000002" in read.faults["frame_000002"]


def test_an_image_that_a_person_adds_is_none_of_the_tasks(
    backend, project, storage, images, label_file
):
    make_images(storage.layout.user_file("ada", project["project"]) / "images", "extra")
    for stem in STEMS:
        assert not backend.state(project).complete
        label_file(stem).write_text("0 0.5 0.5 0.2 0.2\n")
    # Nobody has to label it.
    assert backend.state(project).complete
    assert not backend.read(project, WANTED, images).faults
    label_file("extra").write_text("0 0.5 0.5 0.2 0.2\n")
    assert (backend.state(project).labelled, backend.state(project).total) == (3, 3)
    read = backend.read(project, WANTED, images)
    assert (read.frames.keys(), read.faults.keys()) == (set(STEMS), {"extra"})
    assert "belong to no image" in read.faults["extra"]


def test_a_folder_that_is_gone_is_said(backend, project, storage, images):
    storage.delete("users/ada/labeling/arena-t-1")
    with pytest.raises(NotFound, match="labeling/arena-t-1 is gone"):
        backend.state(project)
    with pytest.raises(NotFound, match="is gone"):
        backend.read(project, WANTED, images)
    with pytest.raises(NotFound, match="is gone"):
        backend.add(project, _labels(frame_000001=("mouse",)))


def test_images_that_are_gone_are_said(backend, project, storage):
    storage.delete(f"users/ada/{project['project']}/images")
    with pytest.raises(NotFound, match=r"labeling/arena-t-1/images is gone .*: .*labels restore"):
        backend.add(project, _labels(frame_000001=("mouse",)))
