"""How a source frame becomes a model's input, and its findings come back.

The same arithmetic as Ultralytics' ``LetterBox(auto=True)``: the long side becomes
``imgsz``, the short side is padded only to the next multiple of the stride, with grey
114 (https://docs.ultralytics.com/reference/data/augment/). So a 16:9 frame is not
padded to a square.
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
        scale: input pixels per source pixel.
        offset_xy: where the resized frame begins in the input, pixels.
    """

    source_wh: tuple[int, int]
    input_hw: tuple[int, int]
    resized_wh: tuple[int, int]
    scale: float
    offset_xy: tuple[int, int]

    @classmethod
    def of(cls, source_wh: tuple[int, int], imgsz: int, stride: int = 32) -> "Letterbox":
        """The mapping for frames of ``source_wh`` and a model trained at ``imgsz``."""
        width, height = source_wh
        scale = min(imgsz / height, imgsz / width)
        resized = round(width * scale), round(height * scale)
        pad_w, pad_h = (imgsz - resized[0]) % stride, (imgsz - resized[1]) % stride
        return cls(
            source_wh=source_wh,
            input_hw=(resized[1] + pad_h, resized[0] + pad_w),
            resized_wh=resized,
            scale=scale,
            offset_xy=(round(pad_w / 2 - 0.1), round(pad_h / 2 - 0.1)),
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
        restored = (xy - np.asarray(self.offset_xy, np.float32)) / np.float32(self.scale)
        return np.clip(restored, 0, np.asarray(self.source_wh, np.float32)).astype(np.float32)
