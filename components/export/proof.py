"""The frames that a model without a dataset is proven on: somebody's images, or their video."""

import shutil
from dataclasses import replace
from pathlib import Path

from components.errors import BadInput
from components.export.parity import HeldOutFrame, spread
from components.images import read_image
from components.label_files import IMAGE_SUFFIXES
from components.video.extract import extract_frames, uniform_indices
from components.video.probe import check_usable, probe_video

PROOF_FRAMES = 16


def gather_frames(images: Path, folder: Path, count: int = PROOF_FRAMES) -> list[HeldOutFrame]:
    """Copy at most ``count`` frames, evenly spread, into the new folder ``folder``.

    Args:
        images: a folder of images, subfolders included, or a video.
        folder: to be made.
        count: of frames.

    Returns:
        As ``frames_in`` gives them.

    Raises:
        BadInput: if the folder holds no image, or one that cannot be read.
        BadVideo: if the file is no video that can be used.
    """
    if images.is_dir():
        folder.mkdir(parents=True)
        for number, path in enumerate(spread(_images_in(images), count)):
            try:
                read_image(path)
            except BadInput as error:
                raise BadInput(f"{path} is not an image that proves anything. {error}") from error
            shutil.copyfile(path, folder / f"{number:03d}_{path.name}")
    else:
        facts = probe_video(images)
        check_usable(facts)
        extract_frames(images, folder, uniform_indices(facts.frame_count, count))
    return frames_in(folder)


def frames_in(folder: Path) -> list[HeldOutFrame]:
    """The images of a folder, and the left halves of two: another aspect ratio."""
    frames = [HeldOutFrame(path) for path in sorted(folder.iterdir())]
    return frames + [replace(frame, half=True) for frame in spread(frames, 2)]


def _images_in(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise BadInput(f"The folder {folder} holds no image: give one with frames of your videos.")
    return found
