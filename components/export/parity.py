"""Parity: on held-out frames the export finds what the trained model finds.

Boxes, scores and key points are matched one to one, frame by frame, in the frames'
pixels. Where the models find nothing at the asked confidence the check would prove
nothing, so the confidence is lowered until they do, and at last every anchor's raw
numbers are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort

from components.dataset.held_out import held_out_images
from components.detections import Comparison, Detections, Tolerance, compare
from components.export.graft import HEAD
from components.export.parity_report import Figures, FrameParity, ParityReport, fault_of
from components.export.reference import TrainedModel
from components.images import read_image
from components.letterbox import Letterbox
from components.onnx_model import OnnxModel
from components.served_model import MAX_DETECTIONS, model_inputs
from components.steps import Progress, no_progress

T = TypeVar("T")

# Both sides compute in float32, so far less than what the eye could tell is a fault.
TOLERANCE = Tolerance(box_px=0.5, score=0.01, keypoint_px=0.5)
BATCH = 4
_LOWER_CONFIDENCES = (0.1, 0.05, 0.01)
_NOTHING = Comparison(unmatched=0, matched=0, box_error=0, score_error=0, keypoint_error=0)


@dataclass(frozen=True)
class HeldOutFrame:
    """A frame that the training never saw; ``half`` takes its left half only."""

    path: Path
    half: bool = False

    @property
    def name(self) -> str:
        """As the report calls it."""
        return f"{self.path.name}, left half" if self.half else self.path.name

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR.

        Raises:
            BadInput: if the image cannot be read.
        """
        frame = read_image(self.path)
        return frame[:, : max(frame.shape[1] // 2, 1)].copy() if self.half else frame


def held_out_frames(dataset: Path, *, at_most: int = 48) -> list[HeldOutFrame]:
    """Frames spread evenly over ``images/val``, and halves of two: another aspect ratio.

    Raises:
        BadInput: if there are none.
    """
    chosen = [HeldOutFrame(path) for path in spread(held_out_images(dataset), at_most)]
    return chosen + [replace(frame, half=True) for frame in spread(chosen, 2)]


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of ``items``, the first and the last among them, evenly spaced."""
    places = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[round(place)] for place in places]


def check_parity(
    trained: TrainedModel,
    model_onnx: Path,
    frames: Sequence[HeldOutFrame],
    *,
    confidence: float,
    iou: float,
    tolerance: Tolerance = TOLERANCE,
    progress: Progress = no_progress,
) -> ParityReport:
    """Hold ``model_onnx`` against the model it was made from; the report says the outcome.

    Args:
        trained: the reference.
        model_onnx: the grafted file.
        frames: the proof.
        confidence: where to begin; lowered while neither model finds anything.
        iou: threshold of the suppression.
        tolerance: what may differ; that of the score is lowered with the confidence.
        progress: counts frames.
    """
    served = OnnxModel(model_onnx)
    lower = [value for value in _LOWER_CONFIDENCES if value < confidence]
    for used in (confidence, *lower):
        allowed = replace(tolerance, score=tolerance.score * used / confidence)
        check = _FindingsCheck(trained, served, used, iou, allowed)
        per_frame, batched = check.run(frames, progress)
        total = reduce(Comparison.merged, (one for _, _, one in per_frame))
        if total.matched or total.unmatched:
            note = (
                f"Neither model finds anything at confidence {confidence:g}, so {used:g} was taken."
                if used < confidence
                else ""
            )
            return _report(per_frame, batched, "findings", note, used, iou, allowed)
    raw = _raw_heads(trained, model_onnx, frames)
    note = (
        f"Neither model finds anything down to confidence {used:g}: the raw numbers of every "
        "anchor were compared instead. The model has learnt too little to be used."
    )
    return _report(raw, _NOTHING, "raw head", note, used, iou, tolerance)


_PerFrame = list[tuple[HeldOutFrame, tuple[int, int], Comparison]]


def _report(
    per_frame: _PerFrame,
    batched: Comparison,
    basis: str,
    note: str,
    confidence: float,
    iou: float,
    tolerance: Tolerance,
) -> ParityReport:
    faults = [(frame.name, fault_of(one, tolerance)) for frame, _, one in per_frame]
    faults.append(("frames in batches against the same ones alone", fault_of(batched, tolerance)))
    fault = next((f"{name}: {text}" for name, text in faults if text), "")
    total = reduce(Comparison.merged, (one for _, _, one in per_frame))
    in_batches = {f"batch_{k}": v for k, v in batched.__dict__.items() if k != "matched"}
    return ParityReport(
        **Figures.of(total).model_dump(),
        **in_batches,
        passed=not fault,
        basis=basis,
        fault=fault,
        note=note,
        confidence=confidence,
        iou=iou,
        frames=len(per_frame),
        tolerance_box_px=tolerance.box_px,
        tolerance_score=tolerance.score,
        tolerance_keypoint_px=tolerance.keypoint_px,
        per_frame=tuple(
            FrameParity(frame=frame.name, width=wh[0], height=wh[1], **Figures.of(one).model_dump())
            for frame, wh, one in per_frame
        ),
    )


_Read = tuple[HeldOutFrame, np.ndarray]


@dataclass(frozen=True)
class _FindingsCheck:
    trained: TrainedModel
    served: OnnxModel
    confidence: float
    iou: float
    tolerance: Tolerance

    def run(
        self, frames: Sequence[HeldOutFrame], progress: Progress
    ) -> tuple[_PerFrame, Comparison]:
        """Each frame against the reference, and batches against single frames."""
        per_frame: _PerFrame = []
        batched = _NOTHING
        for start in range(0, len(frames), BATCH):
            part = [(frame, frame.read()) for frame in frames[start : start + BATCH]]
            found = {frame: self._serve([image])[0] for frame, image in part}
            for frame, image in part:
                expected = self.trained.detect(image, confidence=self.confidence, iou=self.iou)
                wh = (image.shape[1], image.shape[0])
                per_frame.append((frame, wh, self._compare(expected, found[frame])))
                progress(len(per_frame), len(frames))
            for group in _same_size(part):
                together = self._serve([image for _, image in group])
                for (frame, _), one in zip(group, together, strict=True):
                    batched = batched.merged(self._compare(found[frame], one))
        return per_frame, batched

    def _serve(self, images: list[np.ndarray]) -> list[Detections]:
        return self.served.detect(images, confidence=self.confidence, iou=self.iou)

    def _compare(self, expected: Detections, found: Detections) -> Comparison:
        # Where the 300 best are kept, the last of them decide the threshold.
        cut = [float(d.scores.min()) for d in (expected, found) if len(d) >= MAX_DETECTIONS]
        confidence = max([self.confidence, *cut])
        return compare(expected, found, confidence=confidence, tolerance=self.tolerance)


def _same_size(part: list[_Read]) -> Iterator[list[_Read]]:
    """Groups of neighbours of one size; one alone is doubled, so that it makes a batch."""
    for _, neighbours in groupby(part, key=lambda one: one[1].shape):
        group = list(neighbours)
        yield group if len(group) > 1 else group * 2


def _raw_heads(
    trained: TrainedModel, model_onnx: Path, frames: Sequence[HeldOutFrame]
) -> _PerFrame:
    card = OnnxModel(model_onnx).card
    model = onnx.load(model_onnx)
    head = onnx.helper.make_tensor_value_info(HEAD, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(head)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    per_frame: _PerFrame = []
    for frame in frames:
        image = frame.read()
        wh = (image.shape[1], image.shape[0])
        letterbox = Letterbox.of(wh, card.imgsz, card.stride)
        feeds = model_inputs(letterbox.apply(image)[None], confidence=0.5, iou=0.5)
        found = session.run([HEAD], feeds)[0][0]
        comparison = _compare_heads(trained.raw_head(image), found, len(card.labels.names))
        per_frame.append((frame, wh, comparison))
    return per_frame


def _compare_heads(expected: np.ndarray, found: np.ndarray, classes: int) -> Comparison:
    """Every anchor's numbers; scores relative to the best one, since all are small.

    Runtimes cut the sigmoid off at different ends below 1e-7, which is no fault.
    """
    apart = np.abs(expected - found)
    scores = slice(4, 4 + classes)
    points = apart[4 + classes :].reshape(-1, 3, apart.shape[1])
    return Comparison(
        unmatched=0,
        matched=0,
        box_error=float(apart[:4].max()),
        score_error=float(apart[scores].max() / max(expected[scores].max(), 1e-4)),
        keypoint_error=float(points[:, :2].max(initial=0)),
    )
