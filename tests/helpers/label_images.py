"""Images that labels belong to, as small as can be."""

from pathlib import Path

import cv2
import numpy as np


def make_images(folder: Path, *names: str, size_wh: tuple[int, int] = (100, 80)) -> dict[str, Path]:
    """Write black images; return them by stem. A name without a suffix gets ``.png``."""
    found = {}
    for name in names:
        path = folder / (name if "." in name else f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
        found[path.stem] = path
    return found
