"""How a source frame becomes a model's input, and its findings come back.

The same arithmetic as Ultralytics' ``LetterBox(auto=True)``, ``scale_boxes`` and
``scale_coords``: the long side becomes ``imgsz``, the short side is padded only to the
next multiple of the stride, with grey 114
(https://docs.ultralytics.com/reference/data/augment/). So a 16:9 frame is not padded to
a square.
"""

from dataclasses import dataclass

import cv2
import numpy as np

PAD_VALUE = 114


@dataclass(frozen=True)
class Letterbox:
    """The mapping between one size of source frames and the model's input.

    Attributes:
        source_wh: width and height of the source frames, pixels.
        input_hw: height and width of the model's input, multiples of the stride.
        resized_wh: width and height of the frame inside the input.
        offset_xy: where the resized frame begins in the input, pixels.
        gain_xy: on the way back, input pixels per source pixel along x and y.
        origin_xy: on the way back, the source's corner in the input, pixels; ``offset_xy``
            but for rare sizes (see ``of``).
    """

    source_wh: tuple[int, int]
    input_hw: tuple[int, int]
    resized_wh: tuple[int, int]
    offset_xy: tuple[int, int]
    gain_xy: tuple[float, float]
    origin_xy: tuple[int, int]

    @classmethod
    def of(cls, source_wh: tuple[int, int], imgsz: int, stride: int = 32) -> "Letterbox":
        """The mapping for frames of ``source_wh`` and a model trained at ``imgsz``."""
        width, height = source_wh
        resized = _scaled(source_wh, min(imgsz / height, imgsz / width))
        pad_w, pad_h = (imgsz - resized[0]) % stride, (imgsz - resized[1]) % stride
        input_w, input_h = resized[0] + pad_w, resized[1] + pad_h
        # Ultralytics finds its way back from the two sizes alone. Where the short side was
        # rounded down to a multiple of the stride that gives a slightly smaller scale than
        # the way in; we follow it, so that the findings are Ultralytics' own.
        inner = _scaled(source_wh, min(input_h / height, input_w / width))
        return cls(
            source_wh=source_wh,
            input_hw=(input_h, input_w),
            resized_wh=resized,
            offset_xy=(_half(pad_w), _half(pad_h)),
            gain_xy=(inner[0] / width, inner[1] / height),
            origin_xy=(_half(input_w - inner[0]), _half(input_h - inner[1])),
        )

    def apply(self, frame_bgr: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Resize and pad one (H, W, 3) uint8 frame to (*input_hw, 3) uint8, into ``out``."""
        if out is None:
            out = np.empty((*self.input_hw, 3), np.uint8)
        x, y = self.offset_xy
        width, height = self.resized_wh
        out[:y] = PAD_VALUE
        out[y + height :] = PAD_VALUE
        out[:, :x] = PAD_VALUE
        out[:, x + width :] = PAD_VALUE
        inner = out[y : y + height, x : x + width]
        if self.resized_wh == self.source_wh:
            inner[:] = frame_bgr
        else:
            inner[:] = cv2.resize(frame_bgr, self.resized_wh, interpolation=cv2.INTER_LINEAR)
        return out

    def restore(self, xy: np.ndarray) -> np.ndarray:
        """Map (..., 2) float points of the input to source pixels, clipped to the frame."""
        moved = np.asarray(xy, np.float32) - np.asarray(self.origin_xy, np.float32)
        restored = moved / np.asarray(self.gain_xy, np.float32)
        return np.clip(restored, 0, np.asarray(self.source_wh, np.float32))


def _scaled(source_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = source_wh
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _half(pad: int) -> int:
    """What of ``pad`` goes to the left or the top, as Ultralytics rounds it."""
    return round(pad / 2 - 0.1)
