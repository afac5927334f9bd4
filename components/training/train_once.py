"""A task's training in a pipeline: trained once, however often its run has to begin anew."""

from pathlib import Path

from components.dataset.facts import read_dataset
from components.finished import digest_of, file_digest, keep_finished, take_finished
from components.pipeline_step import PipelineStep
from components.training.lost_runs import end_lost_runs
from components.training.result import TrainingResult, read_training
from components.training.settings import TrainingSettings
from components.training.tracking import EXPERIMENT, TASK_TAG
from components.training.train import Tracking, finish_tracking, train

_NAME = "train"


def train_once(
    step: PipelineStep, task_id: str, settings: TrainingSettings, dataset: Path, out: Path
) -> TrainingResult:
    """Train, or take up what an earlier attempt of the same task has trained from the same.

    What earlier attempts have left running on the tracking server is ended.

    Args:
        step: says where the tracking server and the storage are.
        task_id: names the run.
        settings: the weights are brought already.
        dataset: as the dataset step made it.
        out: the folder that ``train`` makes.

    Raises:
        As ``train``.
    """
    uri, facts = step.settings.mlflow_uri, read_dataset(dataset)
    weights = Path(settings.weights)
    digest = digest_of(
        dataset=facts.digest,
        spec=facts.spec.model_dump_json(),
        settings=settings.model_dump_json(),
        weights=file_digest(weights) if settings.weights and weights.is_file() else "",
    )
    tracking = Tracking(
        uri=uri,
        experiment=EXPERIMENT,
        run_name=task_id,
        tags={TASK_TAG: task_id},
        patience=step.patience,
    )
    taken = take_finished(step, task_id, _NAME, digest, out)
    but = read_training(out).run_id if taken else ""
    step.patience(lambda: end_lost_runs(uri, task_id, but=but))
    if taken and (before := finish_tracking(out, tracking)) is not None:
        step.progress(1, 1, epoch=before.epochs, epochs=before.epochs, resumed=True)
        return before
    return train(
        dataset,
        out,
        settings,
        tracking=tracking,
        progress=step.progress,
        made=lambda: keep_finished(step, task_id, _NAME, digest, out),
    )
