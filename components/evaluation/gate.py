"""The promotion gate: a model is served only if it beats the one that is.

Both are measured on the same held-out frames. Whoever brings a model into service on its
own account, by its measured worth and not by a person's word, asks here.
"""

from pydantic import BaseModel, ConfigDict, Field

from components.evaluation.evaluate import Evaluation, same_task
from components.labels import LabelSpec


class Verdict(BaseModel):
    """Whether a candidate earned its promotion, and why."""

    model_config = ConfigDict(frozen=True)

    earned: bool
    reason: str = Field(description="one sentence")
    candidate: dict[str, float]
    champion: dict[str, float] = Field(description="empty where there is none to compare with")


def judge(candidate: Evaluation, champion: Evaluation | None, *, min_gain: float = 0.0) -> Verdict:
    """Hold a candidate against the champion, both measured on the same frames.

    With a champion of the same task, classes and key points, the candidate's score (see
    ``Evaluation.score``) must be greater than the champion's by more than ``min_gain``. No
    champion, or one of other terms, is no hurdle.
    """

    def verdict(earned: bool, reason: str) -> Verdict:
        metrics = champion.metrics if champion else {}
        return Verdict(earned=earned, reason=reason, candidate=candidate.metrics, champion=metrics)

    if champion is None:
        return verdict(True, "There is no champion to beat.")
    if not same_task(candidate.labels, champion.labels):
        return verdict(
            True,
            f"The champion is for {_words(champion.labels)}, the candidate for "
            f"{_words(candidate.labels)}: they cannot be compared.",
        )
    mine, theirs = candidate.score, champion.score
    if mine is None or theirs is None:
        return verdict(
            False,
            f"No object is labelled in the {candidate.frames} held-out frames, so that nothing "
            "shows that the candidate is better: label some there.",
        )
    what = "The mean mAP50-95 of boxes and key points" if len(candidate.metrics) > 2 else "mAP50-95"
    told = (
        f"{what} on {candidate.frames} held-out frames is {mine:.4f}, the champion's {theirs:.4f}"
    )
    if mine - theirs > min_gain:
        return verdict(True, f"{told}: the candidate is better.")
    needed = f"more than {min_gain:g} above it" if min_gain else "above it"
    return verdict(False, f"{told}: it must be {needed} to be served.")


def _words(spec: LabelSpec) -> str:
    points = f" with key points {', '.join(spec.keypoints)}" if spec.keypoints else ""
    return f"{spec.task} of {', '.join(spec.names)}{points}"
