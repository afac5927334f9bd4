"""The MLflow run that an imported model is listed with: it was trained elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import ActverseError
from components.registry.connection import registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "actverse"
"""As that of the trainings."""

WEIGHTS = "model.pt"
"""The artifact that a training can begin from, where there is one; as a training's own run."""


@contextmanager
def import_run(
    name: str,
    *,
    tracking_uri: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    weights: Path | None,
) -> Iterator[str]:
    """Make a run called ``import NAME`` and give its id; it ends as the block ends.

    Args:
        name: the registered model.
        tracking_uri: http://host:port of the MLflow server.
        params, tags: of the run.
        weights: a checkpoint, kept as the run's model.pt.

    Raises:
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"the import of the model {name}") as client:
        run_id: str = client.create_run(
            _experiment_id(client), run_name=f"import {name}", tags=dict(tags)
        ).info.run_id
        for key, value in params.items():
            client.log_param(run_id, key, value)
    try:
        if weights is not None:
            with registry(tracking_uri, f"the weights of the model {name}") as client:
                client.log_artifact(run_id, str(weights))
        yield run_id
    except BaseException:
        with suppress(ActverseError):
            _end(run_id, "FAILED", tracking_uri)
        raise
    _end(run_id, "FINISHED", tracking_uri)


def _end(run_id: str, status: str, tracking_uri: str) -> None:
    with registry(tracking_uri, f"the run {run_id}") as client:
        client.set_terminated(run_id, status)


def _experiment_id(client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    if (known := client.get_experiment_by_name(EXPERIMENT)) is None:
        try:
            return str(client.create_experiment(EXPERIMENT))
        except MlflowException:
            # Somebody else made it in the meantime, or this raises again.
            if (known := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    return str(known.experiment_id)
