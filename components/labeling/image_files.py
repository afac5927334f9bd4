"""The image files that labels belong to: whether they are there, and how large they are."""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from components.errors import BadInput, BadLabels
from components.images import opened_image

_ORIENTATION = 0x0112  # EXIF's tag; from 5 on, width and height change places
_NAMED = 3


def checked_stem(name: str, source: str) -> str:
    """The stem of an image that a file names, with folders of any system or none.

    Args:
        source: the file, for the error.

    Raises:
        BadLabels: if that is no name of a file.
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if not stem.strip("."):
        raise BadLabels(f"{source} names an image {name!r}; name a file.")
    return stem


def image_size(path: Path) -> tuple[int, int]:
    """An image's width and height as it is decoded, turned as its EXIF says.

    Only the header is read.

    Raises:
        BadLabels: if it is no image that may be used.
    """
    try:
        with opened_image(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except BadInput as error:
        raise BadLabels(f"{str(error).rstrip('.')}, or remove its labels.") from error
    return (height, width) if turned else (width, height)


def check_size(said: tuple[int, int], image: Path, where: str) -> None:
    """Refuse labels that were made on an image of another size.

    Raises:
        BadLabels: naming both sizes.
    """
    size = image_size(image)
    if said != size:
        raise BadLabels(
            f"{where}: the labels are of an image of {said[0]} x {said[1]}, but {image.name} has "
            f"{size[0]} x {size[1]}; give the image that was labelled."
        )


def require_images(stems: Collection[str], images: Mapping[str, Path], source: str) -> None:
    """Refuse labels of images that are not there.

    Args:
        stems: of the labelled images.
        images: those that are there, by stem.
        source: where the labels come from, for the error.

    Raises:
        BadLabels: naming the first three.
    """
    if missing := sorted(set(stems) - images.keys()):
        some = ", ".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
        raise BadLabels(
            f"{len(missing)} of the {len(stems)} images that {source} labels belong to no image "
            f"or frame given ({some}): name each after its image, or after an extracted frame."
        )
