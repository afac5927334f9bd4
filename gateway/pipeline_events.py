"""The events of a pipeline run, as far as its steps have told of themselves."""

from typing import Any

from sqlalchemy.orm import Session

from gateway.events import EventName, record_event
from gateway.models import Task

_BEGUN = {
    "train": EventName.MODEL_TRAINING_REQUESTED,
    "export": EventName.MODEL_CONVERSION_REQUESTED,
    "deploy": EventName.MODEL_DEPLOYMENT_REQUESTED,
}
_SUCCEEDED = {
    "train": EventName.MODEL_TRAINING_COMPLETED,
    # Before it, nobody knows whether the conversion is one.
    "parity": EventName.MODEL_CONVERSION_COMPLETED,
    "deploy": EventName.MODEL_DEPLOYED,
}


def record_pipeline(session: Session, task: Task, facts: dict[str, Any]) -> None:
    """Write down what has happened by now; what is written already stays as it is.

    Args:
        facts: of the training's step: ``pipeline``, each step's report, and ``run``.
    """
    reports: dict[str, dict[str, Any]] = facts.get("pipeline", {})
    run = facts.get("run", {})
    where = {"pipeline_run": run["run_id"], "pipeline_url": run["url"]} if run else {}
    # The gate ends before the deployment begins: what did not earn it is never asked for.
    refused = reports.get("gate", {}).get("facts", {}).get("earned") is False
    for step, report in reports.items():
        if step == "deploy" and refused:
            continue
        if begun := _BEGUN.get(step):
            record_event(session, task, begun, {"step": step, **(where if step == "train" else {})})
        if (succeeded := _SUCCEEDED.get(step)) and report["state"] == "succeeded":
            record_event(session, task, succeeded, {"step": step, **report["facts"]})
