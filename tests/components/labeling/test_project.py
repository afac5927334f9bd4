"""Labelling by a folder: laid out, laid out again, counted, taken."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.errors import BadInput, BadLabels
from components.labeling.keep import keep_labels
from components.labeling.opened import opened_labels
from components.labeling.project import count_labels, make_project
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec

DISC = "0 0.5 0.5 0.2 0.2\n"


def write_images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((8, 8, 3), len(name), np.uint8))
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return write_images(tmp_path / "frames", "a.jpg", "b.png", "c.jpg")


@pytest.fixture
def preannotations(tmp_path: Path) -> Path:
    """Of two of the three frames, and one that is not among them."""
    folder = tmp_path / "preannotations"
    folder.mkdir()
    for stem in ("a", "b", "other"):
        (folder / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.2 0.9\n")
    (folder / "classes.txt").write_text("mouse\n")
    return folder


@pytest.mark.parametrize("inner", [".", "images"])
def test_frames_are_laid_out(tmp_path: Path, preannotations: Path, inner: str):
    source = write_images(tmp_path / "own" / inner, "a.jpg", "b.png")
    project, told = tmp_path / "project", []
    number = make_project(
        tmp_path / "own",
        preannotations,
        project,
        progress=lambda done, total: told.append((done, total)),
    )
    assert number == 2
    assert told == [(1, 2), (2, 2)]
    assert files_of(project) == [
        "README.txt",
        "images/a.jpg",
        "images/b.png",
        "predictions/a.txt",
        "predictions/b.txt",
        "predictions/classes.txt",
    ]
    assert (project / "labels").is_dir()
    assert (project / "images" / "b.png").read_bytes() == (source / "b.png").read_bytes()


def test_without_predictions_there_is_no_folder_of_them(frames: Path, tmp_path: Path):
    make_project(frames, tmp_path / "none", tmp_path / "project")
    assert not (tmp_path / "project" / "predictions").exists()
    assert "predictions" not in (tmp_path / "project" / "README.txt").read_text()


def test_the_readme_says_what_is_known_of_the_task(
    frames: Path, preannotations: Path, tmp_path: Path
):
    project = tmp_path / "project"
    make_project(frames, preannotations, project)
    text = (project / "README.txt").read_text()
    for words in ("labels/NAME.txt", "empty file", "classes.txt", "by itself", "confidence"):
        assert words in text
    assert "visible" not in text
    make_project(
        frames,
        preannotations,
        project,
        task="pose",
        names=("mouse", "rat"),
        keypoints=("nose", "tail"),
    )
    text = (project / "README.txt").read_text()
    assert "0 mouse, 1 rat" in text
    assert "nose, tail" in text
    assert "x y visible" in text


def test_laid_out_again_nothing_of_the_person_is_lost(
    frames: Path, preannotations: Path, tmp_path: Path
):
    project = tmp_path / "project"
    make_project(frames, preannotations, project)
    (project / "labels" / "a.txt").write_text(DISC)
    (project / "labels" / "notes").mkdir()
    (project / "labels" / "notes" / "c.txt").write_text("")
    (project / "data.yaml").write_text("names: [mouse]\n")
    (preannotations / "b.txt").write_text("changed")
    (frames / "c.jpg").unlink()
    assert make_project(frames, preannotations, project) == 2
    assert (project / "labels" / "a.txt").read_text() == DISC
    assert (project / "labels" / "notes" / "c.txt").exists()
    assert (project / "data.yaml").read_text() == "names: [mouse]\n"
    assert (project / "predictions" / "b.txt").read_text() == "changed"
    assert not (project / "images" / "c.jpg").exists()


def test_labels_are_counted_by_their_images(frames: Path, preannotations: Path, tmp_path: Path):
    project = tmp_path / "project"
    assert count_labels(project) == (0, 0)
    make_project(frames, preannotations, project)
    assert count_labels(project) == (0, 3)
    (project / "labels" / "a.txt").write_text(DISC)
    (project / "labels" / "b.txt").write_text("")
    # Neither of these labels an image.
    (project / "labels" / "classes.txt").write_text("mouse\n")
    (project / "labels" / "elsewhere.txt").write_text(DISC)
    (project / "labels" / ".c.0f.txt").write_text(DISC)
    (project / "labels" / "c.json").write_text("{}")
    # And these are no images to label.
    (project / "images" / "notes.txt").write_text("no image")
    write_images(project / "images", ".d.0f.jpg")
    assert count_labels(project) == (2, 3)
    (project / "labels" / "train").mkdir()
    (project / "labels" / "train" / "c.txt").write_text("")
    assert count_labels(project) == (3, 3)


def test_complete_labels_are_taken_and_nothing_else(
    frames: Path, preannotations: Path, tmp_path: Path
):
    project, target = tmp_path / "project", tmp_path / "labels"
    make_project(frames, preannotations, project)
    for stem in "abc":
        (project / "labels" / f"{stem}.txt").write_text(DISC if stem != "c" else "")
    (project / "classes.txt").write_text("disc\nsquare\n")
    with opened_labels(project) as given:
        labels = given.read(WantedLabels())
        assert labels.spec == LabelSpec(names=("disc", "square"))
        counts = keep_labels(labels, target, given.images)
    assert counts == {"images": 3, "objects": 2, "disc": 2, "square": 0}
    assert files_of(target) == [
        "a.txt",
        "b.txt",
        "c.txt",
        "images/a.jpg",
        "images/b.png",
        "images/c.jpg",
    ]


def test_images_that_cannot_be_labelled_are_named(frames: Path, tmp_path: Path):
    project = tmp_path / "project"
    with pytest.raises(BadLabels, match="not there"):
        make_project(tmp_path / "none", tmp_path, project)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "video.mp4").write_text("x")
    with pytest.raises(BadInput, match="holds no image"):
        make_project(tmp_path / "empty", tmp_path, project)
    (frames / "d.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"d\.jpg is not an image"):
        make_project(frames, tmp_path, project)
    assert not project.exists()
