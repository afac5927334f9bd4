"""A model version's own proof: real frames and what the model must find in them.

The export writes it, the registry keeps it with the version, the promotion probes with
it. A folder with ``expected.json`` and the frames as PNG (no loss, so that the model
sees the same bytes every time).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from components.detections import Detections
from components.errors import BadInput
from components.files import whole_folder
from components.images import read_image


@dataclass(frozen=True)
class ParityFrame:
    """A source frame, (H, W, 3) uint8 BGR, and what is to be found in it."""

    frame_bgr: np.ndarray
    expected: Detections


@dataclass(frozen=True)
class ParitySet:
    """Frames with their expected findings and the thresholds these were made with."""

    confidence: float
    iou: float
    frames: tuple[ParityFrame, ...]

    def __iter__(self) -> Iterator[ParityFrame]:
        return iter(self.frames)

    def write(self, folder: Path) -> None:
        """Write the folder whole."""
        with whole_folder(folder) as beside:
            entries = []
            for number, frame in enumerate(self.frames):
                cv2.imwrite(str(beside / f"frame_{number}.png"), frame.frame_bgr)
                entries.append(frame.expected.to_json())
            content = {"confidence": self.confidence, "iou": self.iou, "frames": entries}
            (beside / "expected.json").write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ParitySet":
        """Read the folder.

        Raises:
            BadInput: if a part is missing or cannot be read, or there are no frames.
        """
        try:
            content = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
            frames = []
            for number, entry in enumerate(content["frames"]):
                image = read_image(folder / f"frame_{number}.png")
                frames.append(ParityFrame(image, Detections.from_json(entry)))
            if not frames:
                raise ValueError("it has no frames")
            return cls(float(content["confidence"]), float(content["iou"]), tuple(frames))
        except (BadInput, OSError, KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"The parity set in {folder} cannot be used ({error}): export the model again."
            ) from error
