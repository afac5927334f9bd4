"""A task's training: a pipeline run that the worker starts and watches."""

import shutil
import subprocess
from typing import Any

from components.errors import StepFailed
from components.steps import StepReport, read_reports
from gateway.steps.context import StepContext
from pipelines import TRAINING_STEPS
from pipelines.compile import compile_training
from pipelines.local import start_local, stop_local

_POLL_SECONDS = 0.2


def run_training(context: StepContext) -> dict[str, Any]:
    """Run the compiled training pipeline to its end and return its steps' reports.

    Raises:
        StepFailed: with the failed step's own sentence.
    """
    settings, task_id = context.settings, context.task_id
    arguments = _arguments(context)
    layout, storage = context.layout, context.storage
    reports = layout.step_reports(task_id)
    storage.bring(layout.labels(task_id))
    if layout.labelled_images(task_id) == layout.frames(task_id):
        storage.bring(layout.frames(task_id))
    # An earlier attempt's words must not be taken for this one's.
    shutil.rmtree(reports, ignore_errors=True)
    work = settings.home / "pipelines" / task_id
    log = settings.home / "logs" / f"pipeline-{task_id}.log"
    # What loads a user's weights is given no secrets.
    environment = settings.environment(secrets=False)
    # Nor the key of an S3 storage: what the steps read was brought, what they leave is kept here.
    environment["ACTVERSE_ROOT"] = str(layout.root)
    yaml = compile_training(work / "training.yaml")
    process = start_local(yaml, arguments, work, environment, log)
    try:
        told: list[StepReport] = []
        while _running(process):
            if (seen := read_reports(reports)) != told:
                _tell(context, seen)
                told = seen
            context.check()
    finally:
        stop_local(process)
    ended = read_reports(reports)
    _tell(context, ended)
    for report in ended:
        if report.state == "failed":
            raise StepFailed(report.error)
    if process.returncode != 0 or {report.step for report in ended} != set(TRAINING_STEPS):
        raise StepFailed(
            f"The training pipeline broke before its end: read {log} and run the task again."
        )
    storage.keep(layout.train_log(task_id))
    return {"pipeline": _facts(context, ended)}


def _arguments(context: StepContext) -> dict[str, Any]:
    training = context.work.training
    name = context.work.served_name(context.user_id)
    if context.earlier and not training.weights:
        # Never from a client: what it may give is checked where it is taken.
        weights = f"models:/{name}@{context.settings.champion_alias}"
        training = training.model_copy(update={"weights": weights})
    elif training.weights.startswith("key:"):
        path = context.bring_own(training.weights.removeprefix("key:"))
        training = training.model_copy(update={"weights": str(path)})
    return {
        "task_id": context.task_id,
        "model_name": name,
        "labels": context.spec.model_dump_json(),
        "training": training.model_dump_json(),
        "held_out": context.work.held_out,
    }


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _tell(context: StepContext, reports: list[StepReport]) -> None:
    percent = sum(report.percent for report in reports)
    context.progress(percent, 100 * len(TRAINING_STEPS), pipeline=_facts(context, reports))


def _facts(context: StepContext, reports: list[StepReport]) -> dict[str, Any]:
    return {
        report.step: {**report.__dict__, "error": context.in_users_words(report.error)}
        for report in reports
    }
