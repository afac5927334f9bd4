"""Labels that are put into a folder count by the names of that folder."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import BadLabels
from components.labeling.backend import ProjectPlan
from components.labeling.folder_backend import FolderBackend
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from components.settings import Settings
from components.storage import open_storage
from tests.helpers.label_images import make_images

SIZE = 100, 80
STEM = "frame_000001"


class Folder:
    """A project of one image whose task names nothing."""

    def __init__(self, home: Path, wanted: WantedLabels) -> None:
        storage = open_storage(Settings(home=home))
        layout = storage.layout
        self.wanted = wanted
        self.images = make_images(layout.frames("t-1"), STEM)
        self.backend = FolderBackend(storage, lambda key: layout.user_file("ada", key))
        frames, found = layout.frames("t-1"), layout.preannotations("t-1")
        self.project: dict[str, Any] = self.backend.open(
            ProjectPlan("arena-t-1", "t-1", frames, found, wanted)
        )
        self.path = layout.user_file("ada", self.project["project"])

    def add(self, spec: LabelSpec, *names: str) -> None:
        points = dict.fromkeys(spec.keypoints[:1], (15.0, 25.0, 2))
        objects = [LabelledObject(name, (10, 20, 40, 60), points) for name in names]
        frame = LabelledFrame(f"{STEM}.png", SIZE, frame_labels(objects, spec, SIZE, ""))
        self.backend.add(self.project, LabelSet(spec, {STEM: frame}))

    def read(self) -> LabelSet:
        return self.backend.read(self.project, self.wanted, self.images)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, WantedLabels())


def test_names_that_nobody_gave_come_with_the_labels(folder: Folder):
    folder.add(LabelSpec(names=("mouse", "rat")), "rat")
    assert folder.read().objects == {"mouse": 0, "rat": 1}


def test_key_points_that_nobody_named_come_with_the_labels(tmp_path: Path):
    folder = Folder(tmp_path, WantedLabels(task="pose"))
    spec = LabelSpec(task="pose", names=("mouse",), keypoints=("nose", "tail"))
    folder.add(spec, "mouse")
    assert folder.read().spec.keypoints == spec.keypoints
    assert folder.read().frames[STEM].labels.keypoints_xyvn[0, :, 2].tolist() == [2, 0]


@pytest.mark.parametrize("wanted", [(), ("rat", "mouse")])
def test_a_folder_that_counts_otherwise_keeps_its_numbers(tmp_path: Path, wanted: tuple[str, ...]):
    folder = Folder(tmp_path, WantedLabels(names=wanted))
    (folder.path / "classes.txt").write_text("mouse\nrat\n")
    folder.add(LabelSpec(names=("rat", "mouse")), "rat")
    assert (folder.path / "labels" / f"{STEM}.txt").read_text().startswith("1 ")
    assert folder.read().objects["rat"] == 1


def test_a_class_that_the_folder_lacks_is_refused_before_anything_is_written(folder: Folder):
    (folder.path / "classes.txt").write_text("mouse\n")
    with pytest.raises(BadLabels, match=f"{STEM}: the class 'rat' is none"):
        folder.add(LabelSpec(names=("rat",)), "rat")
    assert folder.backend.state(folder.project).labelled == 0


def test_an_upload_on_its_way_is_no_label(folder: Folder):
    mark = folder.backend.state(folder.project).mark
    # It may be gone before it is read.
    (folder.path / "labels" / f".{STEM}.0123.txt").symlink_to("nowhere")
    (folder.path / "labels" / f"{STEM}.txt").symlink_to("nowhere")
    assert folder.backend.state(folder.project).mark == mark


@pytest.mark.parametrize("said", ["kpt_shape: {1: 2}", "kpt_shape: [.inf, 3]", "names: 3"])
def test_a_description_that_makes_no_sense_is_said(folder: Folder, said: str):
    (folder.path / "data.yaml").write_text(said)
    (folder.path / "labels" / f"{STEM}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(BadLabels, match=r"data\.yaml cannot be read"):
        folder.read()
