"""A served ONNX file, run by ONNX Runtime in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from components.detections import Detections
from components.errors import BadInput, NotFound
from components.letterbox import Letterbox
from components.served_model import ModelCard, model_inputs, read_outputs


class OnnxModel:
    """A file that keeps the contract of ``components/served_model.py``, ready to run.

    Attributes:
        card: what the file's metadata say of it.
        metadata: all of the file's metadata properties.
    """

    def __init__(self, path: Path, *, threads: int = 2) -> None:
        """Load ``path`` for ``threads`` threads of the CPU.

        Raises:
            NotFound: if there is no such file.
            BadInput: if it is not an ONNX file that can be run, or carries no card.
        """
        if not Path(path).is_file():
            raise NotFound(f"There is no ONNX file {path}: export a model first.")
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
        """
        feeds = model_inputs(images, confidence=confidence, iou=iou)
        names = list(self.card.outputs)
        return dict(zip(names, self._session.run(names, feeds), strict=True))

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
