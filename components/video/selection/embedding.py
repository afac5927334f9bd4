"""What a frame looks like, as a short vector whose distances can be compared."""

import cv2
import numpy as np

SMALL_WH = (32, 32)
_GREY_WH = (16, 16)
_COLOUR_WH = (8, 8)
_COLOUR_WEIGHT = 2.0
_MEAN = np.full((1, 3), 1 / 3, np.float32)


def embed(bgr: np.ndarray) -> np.ndarray:
    """Embed a frame: its standardised grey layout, and its colours more coarsely.

    Light that changes as a whole does not count; what stands elsewhere does. The layout is
    blurred: otherwise a small animal that moved a little would be as far from where it was
    as one that moved a lot.

    Args:
        bgr: (H, W, 3) uint8, of any size; one of ``SMALL_WH`` is taken as it is.

    Returns:
        (448,) float32. The grey part has length 1, so two frames of one colour lie 0 to 2
        apart.
    """
    if bgr.shape[1::-1] != SMALL_WH:
        bgr = cv2.resize(bgr, SMALL_WH, interpolation=cv2.INTER_AREA)
    small = bgr.astype(np.float32) / 255
    grey = cv2.transform(small, _MEAN)
    colour = cv2.resize(small - grey[..., None], _COLOUR_WH, interpolation=cv2.INTER_AREA)
    colour *= _COLOUR_WEIGHT / colour.size**0.5
    grey = cv2.resize(
        cv2.GaussianBlur(grey, (0, 0), 1.0), _GREY_WH, interpolation=cv2.INTER_AREA
    ).ravel()
    grey -= grey.mean()
    # A picture of one grey has no layout, only noise that must not be blown up.
    grey /= max(float(np.linalg.norm(grey)), 0.02 * grey.size**0.5)
    return np.concatenate([grey, colour.ravel()])
