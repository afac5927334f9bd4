"""How good a served model is on the frames that a dataset holds out, by COCO's rules.

Measured with pycocotools, over IoU thresholds .50 to .95 and classes that occur. Two things
are as in Ultralytics' validation and not as in COCO's own tables: the 300 best findings of a
frame count (COCO: 100, for key points 20), and the key points' sigmas are 1/K for each of K
(COCO's are those of human joints), with 0.53 of the box as an object's area. Objects without
any labelled key point are left out of the key points' figures, as COCO does.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from components.dataset.facts import read_dataset
from components.dataset.held_out import held_out_images
from components.detections import Detections
from components.errors import BadInput
from components.export.parity import HeldOutFrame
from components.labels import FrameLabels, LabelSpec, read_yolo_labels
from components.onnx_model import OnnxModel
from components.served_model import MAX_DETECTIONS
from components.steps import Progress, no_progress

_AREA_SHARE = 0.53
_MAP50, _MAP, _POSE = "mAP50", "mAP50-95", "pose_"


class Evaluation(BaseModel):
    """What was measured of a model.

    ``metrics`` are ``mAP50`` and ``mAP50-95`` of the boxes, and for pose the same of the key
    points with ``pose_`` before them, 0 to 1. They are empty where the model is for another
    task, other classes or other key points than the dataset, or no object is held out: then
    there is nothing to measure.
    """

    model_config = ConfigDict(frozen=True)

    labels: LabelSpec = Field(description="the task, classes and key points of the model")
    frames: int = Field(description="held-out frames")
    objects: int = Field(description="objects labelled in them")
    metrics: dict[str, float]

    @property
    def score(self) -> float | None:
        """The one figure to compare by: mAP50-95, for pose the mean of boxes' and key points'.

        None where nothing was measured.
        """
        figures = [value for name, value in self.metrics.items() if name.endswith(_MAP)]
        return sum(figures) / len(figures) if figures else None


def evaluate(
    onnx: Path,
    dataset: Path,
    *,
    confidence: float = 0.001,
    iou: float = 0.7,
    progress: Progress = no_progress,
) -> Evaluation:
    """Run a served model's file on the held-out frames of a dataset and measure it.

    Args:
        onnx: a file that keeps the contract of ``components/served_model.py``.
        dataset: as ``components/dataset`` wrote it.
        confidence: findings below it do not count; a high one hides what the model nearly saw.
        iou: threshold of the suppression.
        progress: counts frames.

    Raises:
        NotFound: if there is no such file or dataset.
        BadInput: if the file cannot be loaded or run, or there is no held-out frame or it cannot be
            read.
        BadLabels: if a frame's labels cannot be read.
    """
    model = OnnxModel(onnx)
    spec = read_dataset(dataset).spec
    paths = held_out_images(dataset)
    truth = [
        read_yolo_labels(dataset / "labels" / "val" / f"{path.stem}.txt", spec) for path in paths
    ]
    objects = sum(map(len, truth))
    metrics: dict[str, float] = {}
    if objects and same_task(model.card.labels, spec):
        scene = _Scene(spec)
        for number, (path, labels) in enumerate(zip(paths, truth, strict=True), start=1):
            frame = HeldOutFrame(path).read()
            try:
                (found,) = model.detect([frame], confidence=confidence, iou=iou)
            except Exception as error:
                raise BadInput(
                    f"{onnx.name} cannot be run on {path.name} "
                    f"({(str(error).strip() or repr(error)).splitlines()[0]}): export it again."
                ) from error
            scene.add((frame.shape[1], frame.shape[0]), labels, found)
            progress(number, len(paths))
        metrics = scene.metrics()
    return Evaluation(labels=model.card.labels, frames=len(paths), objects=objects, metrics=metrics)


def same_task(one: LabelSpec, other: LabelSpec) -> bool:
    """Whether two models answer in the same terms: task, classes and key points, in order."""
    return (one.task, one.names, one.keypoints) == (other.task, other.names, other.keypoints)


class _Scene:
    """Labels and findings of all frames, in COCO's terms."""

    def __init__(self, spec: LabelSpec) -> None:
        self._spec = spec
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, wh: tuple[int, int], labels: FrameLabels, found: Detections) -> None:
        image = len(self._images) + 1
        self._images.append({"id": image, "width": wh[0], "height": wh[1]})
        size = np.asarray(wh, np.float64)
        for class_id, box, points in zip(
            labels.class_ids, labels.boxes_cxcywhn, labels.keypoints_xyvn, strict=True
        ):
            centre, extent = box[:2] * size, box[2:] * size
            pixels = np.hstack([points[:, :2] * size, points[:, 2:]])
            self._truth.append(
                {
                    # COCO takes 0 for "no object".
                    "id": len(self._truth) + 1,
                    "image_id": image,
                    "category_id": int(class_id),
                    "bbox": [*(centre - extent / 2), *extent],
                    "area": float(extent.prod() * _AREA_SHARE),
                    "iscrowd": 0,
                    "keypoints": pixels.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
        for xyxy, score, class_id, points in zip(
            found.xyxy, found.scores, found.class_ids, found.keypoints, strict=True
        ):
            self._found.append(
                {
                    "image_id": image,
                    "category_id": int(class_id),
                    "bbox": [*map(float, xyxy[:2]), *map(float, xyxy[2:] - xyxy[:2])],
                    "score": float(score),
                    "keypoints": points.ravel().tolist(),
                }
            )

    def metrics(self) -> dict[str, float]:
        metrics = self._average_precision("bbox")
        if self._spec.task == "pose" and any(one["num_keypoints"] for one in self._truth):
            points = self._average_precision("keypoints")
            metrics |= {f"{_POSE}{name}": value for name, value in points.items()}
        return metrics

    def _average_precision(self, kind: str) -> dict[str, float]:
        from pycocotools.coco import COCO  # type: ignore[import-untyped]
        from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

        if not self._found:
            return {_MAP50: 0.0, _MAP: 0.0}
        # It tells standard output what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "images": self._images,
                "annotations": self._truth,
                "categories": [{"id": i, "name": n} for i, n in enumerate(self._spec.names)],
            }
            truth.createIndex()
            found = truth.loadRes([dict(one) for one in self._found])
            measured = COCOeval(truth, found, kind)
            measured.params.maxDets = [MAX_DETECTIONS]
            measured.params.areaRng, measured.params.areaRngLbl = [[0, 1e10]], ["all"]
            points = len(self._spec.keypoints)
            if kind == "keypoints":
                measured.params.kpt_oks_sigmas = np.full(points, 1 / points)
            measured.evaluate()
            measured.accumulate()
        # (IoU thresholds, recalls, classes, 1, 1); -1 for a class that does not occur.
        precision = measured.eval["precision"]
        occurs = (precision > -1).all(axis=(0, 1, 3, 4))
        by_threshold = precision[:, :, occurs].mean(axis=(1, 2, 3, 4))
        return {_MAP50: float(by_threshold[0]), _MAP: float(by_threshold.mean())}
