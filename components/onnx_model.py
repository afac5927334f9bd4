"""A served ONNX file, run by ONNX Runtime in this process.

A graph may hold a loop that never ends, for some inputs or for all: so an inference has a limit
of time. Loading has none, and memory has none: a file that nobody vouches for is tried out in
``components/registry/trial.py``, in a process of its own.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from components.detections import Detections
from components.errors import BadInput, NotFound
from components.letterbox import Letterbox
from components.served_model import ModelCard, model_inputs, read_outputs

ANSWER_SECONDS = 45.0
"""That one inference may take; the default of ``ACTVERSE_MODEL_ANSWER_SECONDS``."""


class OnnxModel:
    """A file that keeps the contract of ``components/served_model.py``, ready to run.

    Attributes:
        card: what the file's metadata say of it.
        metadata: all of the file's metadata properties.
    """

    def __init__(self, path: Path, *, threads: int = 2, seconds: float = ANSWER_SECONDS) -> None:
        """Load ``path`` for ``threads`` threads of the CPU; an inference may take ``seconds``.

        Raises:
            NotFound: if there is no such file.
            BadInput: if it is not an ONNX file that can be run, or carries no card.
        """
        if not Path(path).is_file():
            raise NotFound(f"There is no ONNX file {path}: export a model first.")
        self._file, self._seconds = Path(path).name, seconds
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except _LOAD_ERRORS as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                f"ONNX Runtime cannot load {path} ({reason}): export the model again."
            ) from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.card = ModelCard.from_metadata(self.metadata)

    def infer(
        self, images: np.ndarray, *, confidence: float = 0.25, iou: float = 0.7
    ) -> dict[str, np.ndarray]:
        """The output tensors by name for (N, H, W, 3) uint8 BGR frames of the input's size.

        H and W are multiples of the card's stride; see ``components/served_model.py``
        for the outputs' types and shapes.

        Raises:
            BadInput: if it takes too long.
        """
        feeds = model_inputs(images, confidence=confidence, iou=iou)
        names = list(self.card.outputs)
        options, late = ort.RunOptions(), threading.Event()

        def end() -> None:
            late.set()
            # Looked at before each node of the graph, also in the body of a loop.
            options.terminate = True

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            return dict(zip(names, self._session.run(names, feeds, options), strict=True))
        except Exception as error:
            if not late.is_set():
                raise
            n, height, width, _ = images.shape
            shown = f"{n} frames" if n > 1 else "a frame"
            raise BadInput(
                f"{self._file} does not answer within {self._seconds:g} s on {shown} of {width} x "
                f"{height} pixels: it is not served; give a smaller model."
            ) from error
        finally:
            timer.cancel()

    def detect(
        self, frames_bgr: Sequence[np.ndarray], *, confidence: float = 0.25, iou: float = 0.7
    ) -> list[Detections]:
        """The findings in source frames (H, W, 3) uint8 of one size, as one batch."""
        height, width = frames_bgr[0].shape[:2]
        letterbox = Letterbox.of((width, height), self.card.imgsz, self.card.stride)
        images = np.stack([letterbox.apply(frame) for frame in frames_bgr])
        return read_outputs(self.infer(images, confidence=confidence, iou=iou), letterbox)


_LOAD_ERRORS = tuple(
    getattr(ort.capi.onnxruntime_pybind11_state, name)
    for name in (
        "Fail",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
        "InvalidArgument",
        "NoModel",
        "EPFail",
    )
)
