"""Labelling by a folder: the frames laid out for a person, whose labels are never touched.

images/       the frames to label
predictions/  what a model found in them, where one was asked
labels/       the person's own, one text file for each image
README.txt    what is to be done
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import cv2

from components.errors import BadInput
from components.files import link_or_copy, whole_folder, write_text
from components.label_files import IMAGE_SUFFIXES, find_images
from components.steps import Progress, no_progress

IMAGES, PREDICTIONS, LABELS, README = "images", "predictions", "labels", "README.txt"
PARTS = (IMAGES, PREDICTIONS, README)
"""What ``make_project`` makes; all else in a project is the person's own."""

_CLASSES = "classes.txt"


def make_project(
    frames: Path,
    preannotations: Path,
    project: Path,
    progress: Progress = no_progress,
    *,
    task: Literal["detect", "pose"] = "detect",
    names: Sequence[str] = (),
    keypoints: Sequence[str] = (),
) -> int:
    """Lay images out for labelling in ``project``; return their number.

    Laid out again, images and predictions are replaced; ``labels/`` and whatever else a
    person has put there stays.

    Args:
        frames: the images, directly in it, in subfolders, or in its ``images/``.
        preannotations: as ``components/analysis/preannotate.py`` wrote it; need not be there.
        project: the folder to fill.
        progress: told of images.
        task, names, keypoints: what is to be labelled, as far as it is known, for the README.

    Raises:
        BadLabels: if ``frames`` is missing, or two images share a name.
        BadInput: if it holds no image, or a file that is called one and is none.
        StorageFull: when the disk is full.
    """
    images = find_images(frames)
    if not images:
        raise BadInput(
            f"The folder {frames} holds no image: put those to be labelled into it, or into "
            "an images/ in it."
        )
    for path in images.values():
        # The header only: a person's work shall not end at an image that never was one.
        if not cv2.haveImageReader(str(path)):
            raise BadInput(f"{path} is not an image that can be read: replace or remove it.")
    with whole_folder(project / IMAGES) as beside:
        for done, image in enumerate(images.values(), start=1):
            link_or_copy(image, beside / image.name)
            progress(done, len(images))
    found = [preannotations / f"{stem}.txt" for stem in images]
    if found := [path for path in found if path.is_file()]:
        with whole_folder(project / PREDICTIONS) as beside:
            for path in [preannotations / _CLASSES, *found]:
                if path.is_file():
                    link_or_copy(path, beside / path.name)
    (project / LABELS).mkdir(exist_ok=True)
    write_text(project / README, _readme(task, names, keypoints, predicted=bool(found)))
    return len(images)


def count_labels(project: Path) -> tuple[int, int]:
    """The number of labelled images of a project, and of all its images.

    An image counts as labelled as soon as its label file is there: uploads appear whole.
    What is wrong in one is said when they are taken.
    """
    images = _stems(project / IMAGES, IMAGE_SUFFIXES)
    return len(images & _stems(project / LABELS, {".txt"})), len(images)


def _stems(folder: Path, suffixes: Collection[str]) -> set[str]:
    """The names below a folder; those that are just being written begin with a dot."""
    return {
        path.stem
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    }


def _readme(task: str, names: Sequence[str], keypoints: Sequence[str], *, predicted: bool) -> str:
    points = (
        ' and for each key point\n   "x y visible" (visible: 0 not labelled, 1 hidden, 2 visible)'
        if task == "pose"
        else ""
    )
    classes = (
        "The classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(names)) + "."
        if names
        else "Name the classes in a classes.txt here, one a line, or in a data.yaml."
    )
    text = f"""\
What to do here

1. For each image images/NAME.jpg put a text file labels/NAME.txt, in YOLO's format: one
   line for each object, "class centre_x centre_y width height"{points},
   everything but the class from 0 to 1, relative to the image. An empty file says that
   there is nothing in the image.
2. {classes}
"""
    if task == "pose":
        text += (
            f"   The key points, in this order: {', '.join(keypoints)}.\n"
            if keypoints
            else "   Give the number of key points in a data.yaml here, as kpt_shape: [K, 3].\n"
        )
    if predicted:
        text += """\
3. predictions/ holds what a model found, to begin from. Its class numbers are those of
   predictions/classes.txt, each line ends with a confidence, and the third number of a
   key point is a score: leave the confidence out in labels/, and write 0, 1 or 2 there.
"""
    return f"{text}\nThe task goes on by itself as soon as every image has its label file.\n"
