"""MLflow runs of trainings whose process was killed: nobody else ends them."""

from dataclasses import dataclass

from components.registry.connection import registry
from components.training.tracking import EXPERIMENT, TASK_TAG

LOST = "The process of this training was lost before it could say how it ended."
_PAGE = 200


@dataclass(frozen=True)
class OpenRun:
    """A run that MLflow calls running, and the task that it is of."""

    run_id: str
    task_id: str


def open_runs(tracking_uri: str, task_id: str = "") -> list[OpenRun]:
    """The runs of trainings that have not ended, of one task or of all.

    Raises:
        Unavailable: if the server does not answer.
    """
    wanted = f"tags.`{TASK_TAG}` " + (f"= '{task_id}'" if task_id else "!= ''")
    found: list[OpenRun] = []
    token: str | None = None
    with registry(tracking_uri, "the trainings that run") as client:
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            return []
        while True:
            page = client.search_runs(
                [known.experiment_id],
                filter_string=f"attributes.status = 'RUNNING' and {wanted}",
                max_results=_PAGE,
                page_token=token,
            )
            found += [OpenRun(run.info.run_id, run.data.tags[TASK_TAG]) for run in page]
            token = page.token
            if not token:
                return found


def end_as_lost(tracking_uri: str, run_id: str, reason: str = LOST) -> None:
    """End a run as KILLED, with the reason as its tag ``error`` and its description.

    Raises:
        NotFound: if there is no such run any more.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"the run {run_id}") as client:
        for tag in ("error", "mlflow.note.content"):
            client.set_tag(run_id, tag, reason)
        client.set_terminated(run_id, "KILLED")


def end_lost_runs(tracking_uri: str, task_id: str, *, but: str = "") -> None:
    """End what earlier attempts of a task's training have left running.

    Args:
        but: a run that goes on.

    Raises:
        Unavailable: if the server does not answer.
    """
    for run in open_runs(tracking_uri, task_id):
        if run.run_id != but:
            end_as_lost(tracking_uri, run.run_id)
