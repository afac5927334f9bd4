"""Clients that never stop asking, to show that a change costs them nothing."""

import threading
from types import TracebackType
from typing import Self

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from components.served_model import BOXES, model_inputs


class Hammer:
    """A thread that sends one request after the other; a context manager.

    Attributes:
        failures: what went wrong, in order.
        answers: the boxes of each answer as bytes, in order.
    """

    def __init__(self, url: str, model: str, images: np.ndarray, *, version: str = "") -> None:
        self.url, self.model, self.version = url, model, version
        self.inputs = []
        for name, array in model_inputs(images, confidence=0.25, iou=0.7).items():
            kind = "UINT8" if array.dtype == np.uint8 else "FP32"
            self.inputs.append(grpcclient.InferInput(name, list(array.shape), kind))
            self.inputs[-1].set_data_from_numpy(array)
        self.failures: list[str] = []
        self.answers: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with grpcclient.InferenceServerClient(self.url) as client:
            # A little pause leaves the processor to those who are being watched.
            while not self._stop.wait(0.01):
                try:
                    self.answers.append(self._ask(client))
                except InferenceServerException as error:
                    self.failures.append(str(error))

    def _ask(self, client: grpcclient.InferenceServerClient) -> bytes:
        answer = client.infer(
            self.model, self.inputs, model_version=self.version, client_timeout=20
        )
        boxes: bytes = answer.as_numpy(BOXES).tobytes()
        return boxes

    def once(self) -> bytes:
        """One answer, asked for from here."""
        with grpcclient.InferenceServerClient(self.url) as client:
            return self._ask(client)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
