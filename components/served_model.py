"""The contract of a served model: tensors in, tensors out, and the card in its metadata.

The ONNX file is self-contained: normalisation and non-maximum suppression are in the
graph, so that no client can prepare a frame differently from training.

| tensor | type, shape | meaning |
|---|---|---|
| in ``images`` | uint8 (N, H, W, 3) | BGR frames; H and W any multiples of the stride |
| in ``confidence`` | float32 (1,) | findings below it are dropped |
| in ``iou`` | float32 (1,) | of two findings of a class that overlap more, the better stays |
| out ``boxes`` | float32 (N, M, 4) | corners x, y, x, y in pixels of the input |
| out ``scores`` | float32 (N, M) | best first; 0 where there is no finding |
| out ``classes`` | int32 (N, M) | indices into the card's names |
| out ``keypoints`` | float32 (N, M, K, 3) | pose only: x, y in pixels of the input, score |

M is at most 300.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.detections import Detections
from components.errors import BadInput
from components.labels import LabelSpec
from components.letterbox import Letterbox

IMAGES, CONFIDENCE, IOU = "images", "confidence", "iou"
BOXES, SCORES, CLASSES, KEYPOINTS = "boxes", "scores", "classes", "keypoints"
MAX_DETECTIONS = 300
CARD_KEY = "actverse.card"


class ModelCard(BaseModel):
    """What a client must know of a model; stands as JSON in the file's metadata."""

    model_config = ConfigDict(frozen=True)

    labels: LabelSpec
    imgsz: int = Field(ge=32, description="long side of the input the model was trained at")
    stride: int = Field(32, ge=1)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the model's outputs."""
        return (BOXES, SCORES, CLASSES) + ((KEYPOINTS,) if self.labels.task == "pose" else ())

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read the card from an ONNX file's metadata properties.

        Raises:
            BadInput: if there is none or it cannot be read.
        """
        try:
            return cls.model_validate_json(metadata[CARD_KEY])
        except (KeyError, ValidationError) as error:
            raise BadInput(
                f"The ONNX file carries no readable {CARD_KEY!r} in its metadata: "
                "export it with actverse."
            ) from error


def model_inputs(images: np.ndarray, *, confidence: float, iou: float) -> dict[str, np.ndarray]:
    """The input tensors by name for (N, H, W, 3) uint8 frames."""
    return {
        IMAGES: images,
        CONFIDENCE: np.asarray([confidence], np.float32),
        IOU: np.asarray([iou], np.float32),
    }


def read_outputs(outputs: Mapping[str, np.ndarray], letterbox: Letterbox) -> list[Detections]:
    """The findings of each frame of a batch, in source pixels."""
    batch = []
    for index, scores in enumerate(outputs[SCORES]):
        n = int(np.count_nonzero(scores))
        boxes = outputs[BOXES][index, :n].reshape(n, 2, 2)
        keypoints: np.ndarray = np.zeros((n, 0, 3), np.float32)
        if KEYPOINTS in outputs:
            keypoints = outputs[KEYPOINTS][index, :n].copy()
            keypoints[..., :2] = letterbox.restore(keypoints[..., :2])
        batch.append(
            Detections(
                xyxy=letterbox.restore(boxes).reshape(n, 4),
                scores=scores[:n].copy(),
                class_ids=outputs[CLASSES][index, :n].astype(np.int64),
                keypoints=keypoints,
            )
        )
    return batch
