"""The export of a task's model in a pipeline: done once for a model and its held-out frames."""

from pathlib import Path

from components.dataset.facts import read_dataset
from components.export.parity_report import ParityReport
from components.finished import digest_of, file_digest, keep_finished, take_finished
from components.pipeline_step import PipelineStep

_NAME = "export"


def export_once(
    step: PipelineStep, task_id: str, model_pt: Path, dataset: Path, out: Path, *, imgsz: int
) -> ParityReport:
    """Export, or take up what an earlier attempt of the same task has exported from the same.

    Args:
        step: says where the storage is; told of frames.
        task_id: whose model it is.
        model_pt: the trained model.
        dataset: its held-out frames are the proof.
        out: the folder that ``export_model`` makes; what misses parity is made too.
        imgsz: the input's long side in training, pixels.

    Raises:
        As ``export_model``.
    """
    from components.export.export import REPORT, export_model

    facts = read_dataset(dataset)
    digest = digest_of(dataset=facts.digest, model=file_digest(model_pt), imgsz=str(imgsz))
    if take_finished(step, task_id, _NAME, digest, out):
        return ParityReport.model_validate_json((out / REPORT).read_bytes())
    exported = export_model(
        model_pt,
        dataset,
        out,
        facts.spec,
        imgsz=imgsz,
        keep_missed=True,
        progress=step.progress,
    )
    keep_finished(step, task_id, _NAME, digest, out)
    return exported.report
