"""A model of this process behind the same slots as a served one."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

import numpy as np

from components.served_model import ModelCard


class InferringModel(Protocol):
    """A model that answers when called, as ``OnnxModel`` does.

    ``infer`` takes (N, H, W, 3) uint8 BGR frames and gives the output tensors by name (see
    ``components/served_model.py``).
    """

    card: ModelCard

    def infer(
        self, images: np.ndarray, *, confidence: float, iou: float
    ) -> Mapping[str, np.ndarray]: ...


class LocalSlot:
    """Room for one batch, which a thread of ``pool`` takes through the model."""

    def __init__(
        self, model: InferringModel, pool: ThreadPoolExecutor, images_nhw: tuple[int, int, int]
    ) -> None:
        self._model = model
        self._pool = pool
        self._room: np.ndarray = np.empty((*images_nhw, 3), np.uint8)
        self._images: np.ndarray = self._room
        self._pending: Future[dict[str, np.ndarray]] | None = None

    def images(self, n: int, height: int, width: int) -> np.ndarray:
        """The view to write the next batch into, (n, height, width, 3) uint8."""
        self._images = self._room[:n]
        return self._images

    def submit(self, *, confidence: float, iou: float) -> "Future[dict[str, np.ndarray]]":
        """The outputs by name, once the thread has come to them."""
        self._pending = self._pool.submit(self._infer, confidence, iou)
        return self._pending

    def _infer(self, confidence: float, iou: float) -> dict[str, np.ndarray]:
        return dict(self._model.infer(self._images, confidence=confidence, iou=iou))

    def close(self) -> None:
        """Wait for what is under way."""
        if self._pending is not None and not self._pending.cancel():
            wait([self._pending])
