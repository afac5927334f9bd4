"""How much of the held-out block the training block gives away."""

from pathlib import Path

import numpy as np
from PIL import Image

from components.errors import BadInput, BadLabels
from components.images import opened_image

THUMBNAIL = 32
_LEAST_SIDE = 10  # Ultralytics drops smaller images without a word.


def thumbnail(path: Path) -> np.ndarray:
    """An image's (32 * 32,) float32 grey thumbnail, 0 to 255; the image is decoded in full.

    Raises:
        BadLabels: if it cannot be decoded to its end or is less than 10 pixels wide or high.
    """
    try:
        with opened_image(path) as image:
            small = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            width, height = image.size
    except BadInput as error:
        raise BadLabels(f"{str(error).rstrip('.')}, or remove its labels.") from error
    if min(width, height) < _LEAST_SIDE:
        raise BadLabels(
            f"The image {path} is {width} x {height} pixels: "
            f"give one of at least {_LEAST_SIDE} x {_LEAST_SIDE}."
        )
    return np.asarray(small, np.float32).ravel()


def split_leak(train: np.ndarray, held_out: np.ndarray, in_order: np.ndarray) -> float:
    """The share of held-out frames that have a near-twin among the training frames, 0 to 1.

    With d(a, b) the root mean square difference of two thumbnails and m the median of d over
    consecutive labelled frames: the share of held-out frames h for which min over training
    frames t of d(h, t) is at most m. Frames split one by one at random score some three
    quarters and more, since a neighbour in time of almost each one is a training frame.

    Args:
        train: (n, 1024) float32 thumbnails of the training block.
        held_out: (m, 1024) of the held-out block.
        in_order: (k, 1024) of all labelled frames in time order, the gap's too.
    """
    median = float(np.median(np.sqrt(np.mean(np.square(np.diff(in_order, axis=0)), axis=1))))
    near = sum(
        bool(np.sqrt(np.mean(np.square(train - frame), axis=1).min()) <= median)
        for frame in held_out
    )
    return near / len(held_out)
