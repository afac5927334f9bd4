"""A training's MLflow run, bound to an explicit run id.

Nothing here uses MLflow's notion of an active run or touches its global state, so trainings
in one process do not write into each other's runs.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from components.dataset.facts import DATA_YAML, FACTS, SPLIT, DatasetFacts
from components.errors import BadInput, NotFound, StepFailed, Unavailable
from components.files import write_text
from components.registry.connection import (
    check_answers,
    mlflow_errors,
    registry,
    shown_address,
)
from components.training.tracking import Tracking

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DATASET_DIGEST = 36  # MLflow's column holds no more; the tag has the whole


class MlflowRun:
    """One run that is written to until it ends.

    Figures that the server does not take are kept and sent with the next ones: a server that
    is away for a while costs a training nothing, as long as it is back at the end. All methods
    but ``log_epoch`` and ``abandon`` wait for the server as long as ``Tracking.patience`` says;
    they raise Unavailable if it does not answer even then, StepFailed if it refuses.
    """

    def __init__(self, tracking: Tracking) -> None:
        """Bind to the run, or make it.

        Raises:
            BadInput: if the run does not exist.
            Unavailable: if the server does not answer.
        """
        self._uri = tracking.uri
        self._address = shown_address(tracking.uri)
        self._unsent: list[Metric] = []
        self._patience = tracking.patience
        self._client = MlflowClient(tracking_uri=tracking.uri)
        run = self._ask(lambda: self._bind(tracking))
        self.run_id: str = run.info.run_id
        self._params: dict[str, str] = dict(run.data.params)
        if tracking.run_id is not None:
            self.tag(tracking.tags)

    def _bind(self, tracking: Tracking) -> Run:
        if tracking.run_id is None:
            experiment = self._experiment_id(tracking.experiment)
            # With its tags: one whose answer is lost is found again by them, and ended.
            return self._client.create_run(
                experiment, run_name=tracking.run_name, tags=dict(tracking.tags)
            )
        try:
            run = self._client.get_run(tracking.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise BadInput(
                    f"The run {tracking.run_id} is not on {self._address}: give another, or none."
                ) from error
            raise
        self._client.update_run(tracking.run_id, status="RUNNING", name=tracking.run_name)
        return run

    def _experiment_id(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            if known.lifecycle_stage != "active":
                raise BadInput(f"The experiment {name!r} is deleted: restore it or name another.")
            return known.experiment_id
        try:
            return self._client.create_experiment(name)
        except MlflowException:
            # Somebody else made it in the meantime, or this raises again.
            known = self._client.get_experiment_by_name(name)
            if known is None:
                raise
            return known.experiment_id

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags; a tag that is there is replaced."""
        new = [RunTag(*item) for item in tags.items()]
        self._ask(lambda: self._client.log_batch(self.run_id, tags=new))

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters.

        A parameter of a run cannot change. Where a run is trained once more with others, the
        first ones stay and the tag ``changed_params`` names the new values.
        """
        texts = {name: str(value) for name, value in params.items()}
        new = {name: text for name, text in texts.items() if name not in self._params}
        changed = [
            f"{name}={text}" for name, text in texts.items() if self._params.get(name, text) != text
        ]
        unsent = [Param(*item) for item in new.items()]
        self._ask(lambda: self._client.log_batch(self.run_id, params=unsent))
        self._params |= new
        if changed:
            self.tag({"changed_params": ", ".join(changed)})

    def log_dataset(self, folder: Path, facts: DatasetFacts) -> None:
        """Log the dataset as the run's input, its facts and split also as artifacts."""
        profile = facts.model_dump(include={"train", "held_out", "dropped", "objects", "negatives"})
        entity = Dataset(
            name=folder.name,
            digest=facts.digest[:_DATASET_DIGEST],
            source_type="local",
            source=json.dumps({"uri": folder.absolute().as_uri()}),
            profile=json.dumps(profile),
        )
        context = [InputTag("mlflow.data.context", "training")]
        inputs = [DatasetInput(entity, context)]
        self._ask(lambda: self._client.log_inputs(self.run_id, inputs))
        for name in (DATA_YAML, FACTS, SPLIT):
            self.log_files(folder / name, "dataset")
        self.tag({"dataset.digest": facts.digest})
        self.log_metrics({"dataset/leak": facts.leak}, step=0)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log figures of one step, after those that were not sent yet."""
        now = int(time.time() * 1000)
        self._unsent += [Metric(name, value, now, step) for name, value in metrics.items()]
        self._ask(self._send)

    def _send(self) -> None:
        while self._unsent:
            # The server takes at most a thousand at a time.
            self._client.log_batch(self.run_id, metrics=self._unsent[:1000])
            del self._unsent[:1000]

    def log_epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log an epoch's figures in one request, or keep them until the server is back."""
        now = int(time.time() * 1000)
        self._unsent += [Metric(name, value, now, epoch) for name, value in metrics.items()]
        try:
            self._once(self._send)
        except (Unavailable, StepFailed) as error:
            logger.warning("%s The figures are kept.", error)

    def write_unsent(self, path: Path) -> None:
        """Write down the figures that the server has not taken; nothing if there are none."""
        if self._unsent:
            write_text(path, json.dumps([dict(metric) for metric in self._unsent]))

    def read_unsent(self, path: Path) -> None:
        """Let the figures that an earlier process has written down be sent with the next ones."""
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._unsent += [
                Metric(one["key"], one["value"], one["timestamp"], one["step"]) for one in kept
            ]

    def log_files(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder's content, as artifacts in ``folder``."""
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._ask(lambda: send(self.run_id, str(path), folder))

    def finish(self) -> None:
        """Send what is left and end the run as FINISHED."""
        self.log_metrics({}, 0)
        self._ask(lambda: self._client.set_terminated(self.run_id, "FINISHED"))

    def abandon(self, status: Literal["FAILED", "KILLED"], reason: str) -> None:
        """End the run with the reason as tag ``error`` and as its description.

        A server that is away does not hide why the training ended: it is logged only.
        """
        words = [RunTag("error", reason), RunTag("mlflow.note.content", reason)]

        def end() -> None:
            self._client.log_batch(self.run_id, tags=words)
            self._client.set_terminated(self.run_id, status)

        try:
            self._once(end)
        except (Unavailable, StepFailed, NotFound) as error:
            logger.warning("The run %s could not be ended as %s: %s", self.run_id, status, error)

    def _ask(self, ask: Callable[[], T]) -> T:
        """Ask the server, as long as our patience lasts."""
        return self._patience(lambda: self._once(ask))

    def _once(self, ask: Callable[[], T]) -> T:
        check_answers(self._uri)
        with mlflow_errors(self._uri, "what the training says of itself"):
            return ask()


def run_state(tracking: Tracking) -> str:
    """The status of the run ``tracking.run_id``, as MLflow says it; "" if it is not there.

    Raises:
        Unavailable: if the server does not answer.
    """
    uri, run_id = tracking.uri, tracking.run_id or ""

    def ask() -> str:
        try:
            with registry(uri, f"the run {run_id}") as client:
                return str(client.get_run(run_id).info.status)
        except NotFound:
            return ""

    return tracking.patience(ask)
