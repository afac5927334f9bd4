"""The export step: model.pt becomes a self-contained model.onnx that was proven to be the same."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from components.detections import Detections, Tolerance
from components.errors import disk_errors
from components.export.graft import graft
from components.export.parity import TOLERANCE, HeldOutFrame, check_parity, held_out_frames, spread
from components.export.parity_report import ParityReport
from components.export.reference import TrainedModel
from components.files import whole_folder
from components.labels import LabelSpec
from components.onnx_model import OnnxModel
from components.parity_set import ParityFrame, ParitySet
from components.served_model import ModelCard
from components.steps import Progress, no_progress

MODEL, REPORT, REPORT_PAGE, PARITY_SET = "model.onnx", "parity.json", "parity.md", "parity_set"
PARITY_FRAMES = 8
# Old enough for every runtime that serves, new enough for all that the graft needs.
OPSET = 17


@dataclass(frozen=True)
class ExportResult:
    """A finished export.

    Attributes:
        model: the ONNX file.
        parity_set: the folder of its parity set; one that missed has none.
        card: what the file says of itself.
        report: how it compares with model.pt.
    """

    model: Path
    parity_set: Path
    card: ModelCard
    report: ParityReport


def export_model(
    model_pt: Path,
    dataset: Path,
    out: Path,
    spec: LabelSpec,
    *,
    imgsz: int,
    confidence: float = 0.25,
    iou: float = 0.7,
    tolerance: Tolerance = TOLERANCE,
    opset: int = OPSET,
    keep_missed: bool = False,
    progress: Progress = no_progress,
) -> ExportResult:
    """Export a model that was trained on a dataset; its held-out frames are the proof.

    Args:
        model_pt: the trained model.
        dataset: as ``components/dataset`` wrote it; ``images/val`` is the proof.
        out, spec, imgsz, confidence, iou, tolerance, opset, keep_missed, progress: as of
            ``export_on_frames``, whose errors it raises.

    Raises:
        BadInput: also if there is no held-out frame.
    """
    return export_on_frames(
        model_pt,
        held_out_frames(dataset),
        out,
        spec,
        imgsz=imgsz,
        confidence=confidence,
        iou=iou,
        tolerance=tolerance,
        opset=opset,
        keep_missed=keep_missed,
        progress=progress,
    )


def export_on_frames(
    model_pt: Path,
    frames: Sequence[HeldOutFrame],
    out: Path,
    spec: LabelSpec,
    *,
    imgsz: int,
    confidence: float = 0.25,
    iou: float = 0.7,
    tolerance: Tolerance = TOLERANCE,
    opset: int = OPSET,
    keep_missed: bool = False,
    progress: Progress = no_progress,
) -> ExportResult:
    """Write ``model.onnx``, its parity report and its parity set into ``out``, whole.

    Nothing else is written; beside ``model_pt`` nothing appears. When the parity check
    fails ``out`` is left as it was, and the error carries the report.

    Args:
        model_pt: the trained model.
        frames: the proof: what the two are compared on.
        out: the folder to make; an older one is replaced.
        spec: the model's task, classes and key points.
        imgsz: the input's long side in training, pixels.
        confidence: threshold of the comparison.
        iou: threshold of the suppression.
        tolerance: how far the two models may lie apart.
        opset: version of the ONNX operators.
        keep_missed: also write an export that misses parity, so that its report can be read
            in its place; whoever goes on with it asks ``report.passed``. It has no parity set.
        progress: counts frames.

    Raises:
        NotFound: if ``model_pt`` is not there.
        BadInput: if it cannot be used, or is not for ``spec``.
        ParityFailed: naming frame and figure, unless what missed is kept; ``report`` is the
            ParityReport.
        StorageFull: when the disk is full.
    """
    trained = TrainedModel(model_pt, spec, imgsz)
    card = ModelCard(labels=spec, imgsz=trained.imgsz, stride=trained.stride)
    with (
        disk_errors("the export's working copy"),
        tempfile.TemporaryDirectory(prefix="actverse-export-") as scratch,
    ):
        plain = trained.export_plain(Path(scratch), opset=opset)
    with whole_folder(out) as beside:
        onnx.save(graft(plain, card), beside / MODEL)
        report = check_parity(
            trained,
            beside / MODEL,
            frames,
            confidence=confidence,
            iou=iou,
            tolerance=tolerance,
            progress=progress,
        )
        if not keep_missed:
            report.require(model_pt)
        (beside / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")
        (beside / REPORT_PAGE).write_text(report.markdown(), encoding="utf-8")
        if report.passed:
            served = OnnxModel(beside / MODEL)
            make_parity_set(served, frames, report).write(beside / PARITY_SET)
    return ExportResult(out / MODEL, out / PARITY_SET, card, report)


def make_parity_set(
    served: OnnxModel, frames: Sequence[HeldOutFrame], report: ParityReport
) -> ParitySet:
    """A few frames, those with findings first choice, with what ``served`` finds in them."""

    def find(frame: HeldOutFrame) -> Detections:
        (found,) = served.detect([frame.read()], confidence=report.confidence, iou=report.iou)
        return found

    whole = [frame for frame in frames if not frame.half]
    matched = {one.frame for one in report.per_frame if one.matched}
    telling = [frame for frame in whole if frame.name in matched] or whole
    chosen = spread(telling, PARITY_FRAMES)
    return ParitySet(
        confidence=report.confidence,
        iou=report.iou,
        frames=tuple(ParityFrame(frame.read(), find(frame)) for frame in chosen),
    )
