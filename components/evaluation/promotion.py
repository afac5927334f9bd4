"""The gate step: a registered version is measured against the one in service."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput, NotFound, disk_errors
from components.evaluation.evaluate import Evaluation, evaluate
from components.evaluation.gate import Verdict, judge
from components.registry.download import download_version
from components.registry.gate_tags import read_gate_reason, write_gate
from components.registry.in_service import version_in_service
from components.serving.check_apart import check_apart
from components.settings import Settings
from components.steps import Progress, no_progress


@dataclass(frozen=True)
class Gated:
    """What the gate decided.

    Attributes:
        version: the version to be served: the candidate if it earned that, else the champion.
        champion: the version in service before, or None.
        verdict: why.
    """

    version: int
    champion: int | None
    verdict: Verdict

    def facts(self) -> dict[str, Any]:
        """For whoever watches: ``earned``, ``reason`` and what both sides reached."""
        return {**self.verdict.model_dump(), "champion_version": self.champion}


def gate(
    model: str,
    version: int,
    onnx: Path,
    dataset: Path,
    *,
    settings: Settings,
    progress: Progress = no_progress,
) -> Gated:
    """Decide whether a version takes the champion's place; the comparison stands on it as tags.

    A champion whose file is not there or cannot be run any more is no hurdle. The version that
    is the champion already stays it, and keeps the tags of its first time.

    Args:
        model, version: the candidate, registered.
        onnx: its file.
        dataset: whose held-out frames decide.
        settings: the MLflow server, the alias and the least gain are read.
        progress: counts frames.

    Raises:
        NotFound: if there is no such version, file or dataset.
        BadInput: if the candidate's file or the dataset cannot be used.
        Unavailable: if the MLflow server does not answer.
    """
    uri = settings.mlflow_uri
    champion = version_in_service(model, settings.champion_alias, tracking_uri=uri)
    sides = 1 if champion in (None, version) else 2
    candidate = evaluate(onnx, dataset, progress=_part(progress, 0, sides))
    theirs: Evaluation | None = None
    trouble = ""
    if champion == version:
        trouble = f"Version {version} is the champion already."
    elif champion is not None:
        try:
            theirs = _measure(model, champion, dataset, uri, _part(progress, 1, sides))
        except (BadInput, NotFound) as error:
            why = str(error).replace(f" at {uri}", "")
            trouble = f"The champion, version {champion}, cannot be measured any more: {why}"
    verdict = judge(candidate, theirs, min_gain=settings.promotion_min_gain)
    if trouble:
        verdict = verdict.model_copy(update={"reason": trouble})
    if champion != version or not read_gate_reason(model, version, tracking_uri=uri):
        write_gate(
            model,
            version,
            earned=verdict.earned,
            reason=verdict.reason,
            candidate=verdict.candidate,
            champion=verdict.champion,
            champion_version=None if champion == version else champion,
            tracking_uri=uri,
        )
    served = version if verdict.earned or champion is None else champion
    return Gated(served, champion, verdict)


def _part(progress: Progress, before: int, sides: int) -> Progress:
    """The progress of one side, after ``before`` others that have as many frames."""

    def told(done: float, total: float, **_: Any) -> None:
        progress(before * total + done, sides * total)

    return told


def _measure(
    model: str, version: int, dataset: Path, tracking_uri: str, progress: Progress
) -> Evaluation:
    with (
        disk_errors("the champion's model"),
        tempfile.TemporaryDirectory(prefix="actverse-champion-") as folder,
    ):
        files = download_version(model, version, Path(folder), tracking_uri)
        # It may be a file that a user brought.
        check_apart(files.onnx)
        return evaluate(files.onnx, dataset, progress=progress)
