"""Image files from outside: how large they are is read before any of them is decoded.

A PNG of 1 MB may hold a gigapixel, which takes gigabytes once it is decoded. So the header is
read first, by Pillow, for the listed formats alone: what another decoder would take by itself
(JPEG 2000, OpenEXR, Radiance …) is refused, whatever its name ends in.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components import MAX_IMAGE_PIXELS
from components.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")


@contextmanager
def opened_image(path: Path) -> Iterator["Image"]:
    """Open an image whose header says that it may be decoded.

    Raises:
        BadInput: if it is of none of ``FORMATS``, cannot be read, is animated, or has more
            than ``MAX_IMAGE_PIXELS``.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise BadInput(
                    f"The image {path} has {width} x {height} pixels, more than the "
                    f"{MAX_IMAGE_PIXELS} allowed: scale it down, or cut it."
                )
            # A JPEG of a phone may carry a second picture, which nobody decodes.
            if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
                raise BadInput(
                    f"The image {path} is animated: give its frames, each as a file of its own."
                )
            yield image
    except Image.DecompressionBombError as error:
        raise BadInput(
            f"The image {path} has more than the {MAX_IMAGE_PIXELS} pixels allowed: scale it "
            "down, or cut it."
        ) from error
    except (
        # Ultralytics, where it is loaded, answers an unknown format with a missing package.
        *(OSError, SyntaxError, ValueError, ImportError, EOFError, struct.error),
    ) as error:
        raise BadInput(
            f"The image {path} cannot be read: replace it with a whole "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]} file."
        ) from error


def read_image(path: Path) -> np.ndarray:
    """An image as OpenCV decodes it, (H, W, 3) uint8 BGR.

    Raises:
        BadInput: as ``opened_image``.
    """
    import cv2

    with opened_image(path):
        pass
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise BadInput(f"The image {path} cannot be read: replace or remove it.")
    return bgr
