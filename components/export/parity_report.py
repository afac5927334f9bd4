"""The report of a parity check: its figures as JSON, and a page to read."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from components.detections import Comparison, Tolerance
from components.errors import ParityFailed


class Figures(BaseModel):
    """How far model.pt and model.onnx lie apart; see ``components.detections.Comparison``."""

    # A figure that is no number belongs to a miss: it must be there again when it is read.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    matched: int
    unmatched: int
    box_error: float
    score_error: float
    keypoint_error: float

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The comparison's figures."""
        return cls(**comparison.__dict__)


class FrameParity(Figures):
    """The figures of one frame."""

    frame: str
    width: int
    height: int


class ParityReport(Figures):
    """All that a parity check saw; the figures are the worst of all frames.

    Attributes:
        passed: whether every frame is within the tolerance.
        basis: ``findings``, or ``raw head`` where neither model found anything at any
            confidence: then every anchor's box (pixels of the input), score (relative to
            the frame's best) and key points are compared.
        fault: what missed the tolerance, empty if nothing did.
        note: what a reader must know of the check's weight, empty if nothing.
        confidence: the threshold of the comparison; lowered until there were findings.
        iou: the threshold of the suppression.
        frames: number of frames compared.
        tolerance_box_px, tolerance_score, tolerance_keypoint_px: what was allowed.
        batch_unmatched, batch_box_error, batch_score_error, batch_keypoint_error: how far
            model.onnx' answers to whole batches lie from those to single frames.
        per_frame: the figures of each frame.
    """

    passed: bool
    basis: Literal["findings", "raw head"]
    fault: str
    note: str
    confidence: float
    iou: float
    frames: int
    tolerance_box_px: float
    tolerance_score: float
    tolerance_keypoint_px: float
    batch_unmatched: int
    batch_box_error: float
    batch_score_error: float
    batch_keypoint_error: float
    per_frame: tuple[FrameParity, ...]

    def require(self, model: object) -> None:
        """Raise ParityFailed, naming the model and the fault, unless the check has passed."""
        if not self.passed:
            raise ParityFailed(
                f"The export of {model} does not behave like it: {self.fault}; look at the "
                "parity report, and do not serve it.",
                self,
            )

    def facts(self) -> dict[str, str | int | float]:
        """The figures for whoever watches."""
        facts: dict[str, str | int | float] = {
            "frames": self.frames,
            "confidence": self.confidence,
            "matched": self.matched,
            "box_error": self.box_error,
            "score_error": self.score_error,
            "keypoint_error": self.keypoint_error,
        }
        return facts | ({"warning": self.note} if self.note else {})

    def markdown(self) -> str:
        """The report as a page."""
        verdict = "passed" if self.passed else f"**failed**: {self.fault}"
        lines = [
            "# Parity of model.onnx with model.pt",
            "",
            f"{self.frames} held-out frames, confidence {self.confidence:g}, IoU {self.iou:g}: "
            f"{verdict}.",
            "",
        ]
        if self.note:
            lines += [f"> {self.note}", ""]
        lines += [
            f"| compared by {self.basis} | worst | batched | allowed |",
            "|---|---|---|---|",
            f"| findings matched | {self.matched} | | |",
            f"| findings without a partner | {self.unmatched} | {self.batch_unmatched} | 0 |",
            f"| box corner, px | {self.box_error:.4f} | {self.batch_box_error:.4f} "
            f"| {self.tolerance_box_px:g} |",
            f"| score | {self.score_error:.5f} | {self.batch_score_error:.5f} "
            f"| {self.tolerance_score:g} |",
            f"| key point, px | {self.keypoint_error:.4f} | {self.batch_keypoint_error:.4f} "
            f"| {self.tolerance_keypoint_px:g} |",
            "",
            "| frame | size | matched | alone | box px | score | key point px |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.frame} | {one.width} x {one.height} | {one.matched} | {one.unmatched} "
            f"| {one.box_error:.4f} | {one.score_error:.5f} | {one.keypoint_error:.4f} |"
            for one in self.per_frame
        ]
        return "\n".join(lines) + "\n"


def fault_of(comparison: Comparison, tolerance: Tolerance) -> str:
    """What of ``comparison`` is not within ``tolerance``, in words; empty if all is."""
    if comparison.within(tolerance):
        return ""
    if comparison.unmatched:
        return f"{comparison.unmatched} findings have no partner in the other model's"
    # Written so that a figure that is not a number is a fault.
    for what, error, allowed in (
        ("a box corner lies {:.3g} px apart, {:g} px are allowed", "box_error", tolerance.box_px),
        ("a score differs by {:.3g}, {:g} is allowed", "score_error", tolerance.score),
        (
            "a key point lies {:.3g} px apart, {:g} px are allowed",
            "keypoint_error",
            tolerance.keypoint_px,
        ),
    ):
        value = getattr(comparison, error)
        if not value <= allowed:
            return what.format(value, allowed)
    return ""
