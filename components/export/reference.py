"""The model as it was trained, run by Ultralytics itself: what an export is held against."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic import ValidationError

from components.detections import Detections
from components.errors import BadInput, NotFound
from components.labels import LabelSpec
from components.served_model import MAX_DETECTIONS
from components.ultralytics_env import prepare

_USUAL_IMGSZ, _LEAST_IMGSZ, _MOST_IMGSZ = 640, 32, 4096


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of itself.

    Attributes:
        spec: its task, classes and key points, which are numbered where they have no names.
        imgsz: long side of the input in its training, pixels; 640 if it does not say.
    """

    spec: LabelSpec
    imgsz: int


def describe_checkpoint(model_pt: Path) -> CheckpointFacts:
    """Read what a checkpoint is for, without running code that it carries.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it cannot be loaded safely, or is no detection or pose model.
    """
    yolo = _load(model_pt)
    if yolo.task not in ("detect", "pose"):
        raise BadInput(
            f"{model_pt} is a model of the task {yolo.task}: give one for detection or pose."
        )
    try:
        names = tuple(str(yolo.names[i]) for i in sorted(yolo.names))
        keypoints = _keypoint_names(yolo.model) if yolo.task == "pose" else ()
        spec = LabelSpec(task=yolo.task, names=names, keypoints=keypoints)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadInput(f"{model_pt} names what it finds in a way of no use: {reason}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{model_pt} does not say what it finds ({error!r}): give a model.pt that "
            "Ultralytics wrote."
        ) from error
    asked = yolo.overrides.get("imgsz")
    usable = isinstance(asked, int) and _LEAST_IMGSZ <= asked <= _MOST_IMGSZ
    return CheckpointFacts(spec, asked if usable else _USUAL_IMGSZ)


def _keypoint_names(model: Any) -> tuple[str, ...]:
    """As Ultralytics keeps them: a list for each class, of which the first counts."""
    count = int(model.kpt_shape[0])
    listed = getattr(model, "kpt_names", None) or {}
    names = tuple(str(name) for name in next(iter(dict(listed).values()), ()))
    return names if len(names) == count else tuple(str(number) for number in range(count))


def _load(model_pt: Path) -> Any:
    """A checkpoint as Ultralytics' own object.

    Raises:
        NotFound, BadInput: as ``TrainedModel``.
    """
    if not model_pt.is_file():
        raise NotFound(f"There is no trained model {model_pt}: train one first.")
    prepare()
    from ultralytics import YOLO

    try:
        return YOLO(model_pt)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BadInput(
            f"{model_pt} cannot be loaded as a trained model ({reason}): give a model.pt "
            "that Ultralytics wrote."
        ) from error


class TrainedModel:
    """A model.pt, loaded without running code that it carries.

    Attributes:
        imgsz: long side of the input, raised to a multiple of the stride.
        stride: of the model's input.
    """

    def __init__(self, model_pt: Path, spec: LabelSpec, imgsz: int) -> None:
        """Load ``model_pt``.

        Raises:
            NotFound: if there is no such file.
            BadInput: if it is not a checkpoint that can be loaded safely, or not of
                ``spec``'s task, classes and key points.
        """
        self._yolo = _load(model_pt)
        self._check(model_pt, spec)
        self.stride = int(max(self._yolo.model.stride))
        self.imgsz = -(-imgsz // self.stride) * self.stride

    def _check(self, model_pt: Path, spec: LabelSpec) -> None:
        names = tuple(self._yolo.names[i] for i in sorted(self._yolo.names))
        shape = [int(v) for v in getattr(self._yolo.model, "kpt_shape", [])]
        shape = shape if self._yolo.task == "pose" else []
        wanted = [len(spec.keypoints), 3] if spec.keypoints else []
        if (self._yolo.task, names, shape) != (spec.task, spec.names, wanted):
            raise BadInput(
                f"{model_pt} is for {self._yolo.task}, classes {list(names)}, key points {shape}; "
                f"the data set is for {spec.task}, classes {list(spec.names)}, key points "
                f"{wanted}: train the model on this data set."
            )

    def export_plain(self, folder: Path, *, opset: int) -> onnx.ModelProto:
        """Ultralytics' own export: raw head out, any batch, height and width in.

        It writes beside the checkpoint, so it works on a copy in ``folder``.
        """
        from ultralytics import YOLO

        copy = folder / "model.pt"
        shutil.copyfile(self._yolo.ckpt_path, copy)
        # Without nms the head is raw for every architecture; onnxslim gains the runtimes
        # nothing and costs seconds.
        path = YOLO(copy).export(
            format="onnx",
            dynamic=True,
            simplify=False,
            opset=opset,
            imgsz=self.imgsz,
            device="cpu",
            verbose=False,
        )
        return onnx.load(path)

    def detect(self, frame_bgr: np.ndarray, *, confidence: float, iou: float) -> Detections:
        """Ultralytics' prediction for one (H, W, 3) uint8 frame."""
        (result,) = self._yolo.predict(
            frame_bgr,
            imgsz=self.imgsz,
            conf=confidence,
            iou=iou,
            max_det=MAX_DETECTIONS,
            rect=True,
            device="cpu",
            verbose=False,
            save=False,
        )
        boxes = result.boxes.numpy()
        keypoints = np.zeros((len(boxes), 0, 3), np.float32)
        if result.keypoints is not None:
            keypoints = result.keypoints.data.numpy().astype(np.float32)
        return Detections(
            xyxy=boxes.xyxy.astype(np.float32),
            scores=boxes.conf.astype(np.float32),
            class_ids=boxes.cls.astype(np.int64),
            keypoints=keypoints,
        )

    def raw_head(self, frame_bgr: np.ndarray) -> np.ndarray:
        """What the network gives for a frame before suppression: (C, anchors) float32."""
        self.detect(frame_bgr, confidence=1.0, iou=1.0)  # sets the predictor up
        import torch

        predictor = self._yolo.predictor
        with torch.inference_mode():
            answer = predictor.model(predictor.preprocess([frame_bgr]))
        head = answer[0] if isinstance(answer, (list, tuple)) else answer
        return np.asarray(head[0].numpy(), np.float32)
