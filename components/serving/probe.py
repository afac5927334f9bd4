"""Whether a served version really answers, and as it should: by inferences, not by its state.

Triton calls a model ready whose process was killed.
"""

import time
from concurrent.futures import Future
from functools import reduce

import numpy as np

from components.detections import Comparison, Tolerance, compare
from components.errors import PromotionFailed
from components.letterbox import Letterbox
from components.parity_set import ParitySet
from components.served_model import read_outputs
from components.serving.client import Outputs, TritonModel

TOLERANCES = {
    "": Tolerance(box_px=0.5, score=0.01, keypoint_px=0.5),
    # It computes in bfloat16 where the processor can.
    "openvino": Tolerance(box_px=4.0, score=0.1, keypoint_px=4.0),
}
"""By accelerator: how far the served findings may lie from the recorded ones."""


def probe(
    model: TritonModel, parity_set: ParitySet, tolerance: Tolerance, seconds: float = 120.0
) -> None:
    """Put every frame of a version's parity set through the server.

    Args:
        model: what is asked; a candidate or the version itself.
        parity_set: its frames and what is to be found in them.
        tolerance: how far the findings may lie apart.
        seconds: that all frames together may take.

    Raises:
        PromotionFailed: if the findings are not the recorded ones, or take too long.
        NotFound, StepFailed, Unavailable: as from ``TritonModel.infer``.
    """
    card = model.card
    comparisons: list[Comparison] = []
    deadline = time.monotonic() + seconds
    for frame in parity_set:
        if time.monotonic() > deadline:
            raise PromotionFailed(
                f"Version {model.version} of the model {model.model} answered only "
                f"{len(comparisons)} of its parity frames within {seconds:g} s: give a smaller "
                "model."
            )
        height, width = frame.frame_bgr.shape[:2]
        letterbox = Letterbox.of((width, height), card.imgsz, card.stride)
        outputs = model.infer(
            letterbox.apply(frame.frame_bgr)[None],
            confidence=parity_set.confidence,
            iou=parity_set.iou,
        )
        comparisons.append(
            compare(
                frame.expected,
                read_outputs(outputs, letterbox)[0],
                confidence=parity_set.confidence,
                tolerance=tolerance,
            )
        )
    worst = reduce(Comparison.merged, comparisons)
    if not worst.within(tolerance):
        raise PromotionFailed(
            f"Version {model.version} of the model {model.model} does not find in its own "
            f"{len(comparisons)} parity frames what it was registered with: {worst.unmatched} "
            f"findings have no partner, and the others differ by up to {worst.box_error:.3g} px, "
            f"{worst.score_error:.3g} in score and {worst.keypoint_error:.3g} px in key points."
        )


def look(model: TritonModel) -> "Future[Outputs]":
    """Begin one small inference.

    Raises:
        NotFound, StepFailed, Unavailable: as from ``TritonModel.infer``; the answer too.
    """
    side = model.card.stride
    return model.ask(np.zeros((1, side, side, 3), np.uint8), confidence=0.5, iou=0.5)
