"""A task's training: a pipeline run that is submitted, and followed by its id until it ends.

On this machine the run is a child process: it ends with whoever follows it, and a further
attempt is a new run, whose steps take up what earlier ones have finished. On Kubeflow Pipelines
it goes on whether or not anybody looks: it is found again by what ``gateway.pipeline_runs``
remembers, and who cancels the task has it ended by ``gateway.unwanted_runs``.
"""

import logging
import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.exc import OperationalError

from components.dataset.labels_digest import labels_digest
from components.errors import ActverseError, NotFound, StepFailed, Unavailable
from components.registry.connection import check_answers
from components.settings import Settings
from components.steps import StepReport, read_reports
from components.training.stored_weights import STORED
from gateway.database import Sessions
from gateway.flows import TRAINING
from gateway.leases import LeaseLost
from gateway.models import now
from gateway.pipeline_progress import (
    failure,
    passing_failure,
    percent,
    step_reports,
    unreported,
)
from gateway.pipeline_runs import (
    KUBEFLOW,
    LOCAL,
    ask_for_run,
    end_run,
    note_run,
    run_name,
    watched,
)
from gateway.pipeline_stalls import StallWatch
from gateway.steps.context import HandedOver, StepContext
from pipelines import TRAINING_STEPS
from pipelines.backend import PipelineBackend, RunRequest, RunState, RunStatus

logger = logging.getLogger("actverse.training")

_LOCAL_POLL_SECONDS = 0.2
_TICK_SECONDS = 1.0


@dataclass
class _Following:
    """What one who follows a run has seen of it.

    Attributes:
        url: its page.
        away: since when it could not be looked at.
        told: what was last written down.
        stalls: looks for steps that do not begin, where that may be.
    """

    run_id: str
    url: str = ""
    state: str = ""
    away: datetime | None = None
    reports: dict[str, StepReport] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    stalls: StallWatch | None = None


class Trainings:
    """Runs the trainings of tasks, some side by side in as many threads.

    Args:
        backend: where they run.
        stopping: set when the process is to end.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        backend: PipelineBackend,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._backend = backend
        self._stopping = stopping
        self._remote = bool(settings.kfp_endpoint)
        self._poll = settings.kfp_poll_seconds if self._remote else _LOCAL_POLL_SECONDS

    def run(self, context: StepContext) -> dict[str, Any]:
        """Run a task's training to its end and return its facts.

        Raises:
            StepFailed: with the failed step's own sentence.
            HandedOver: when the process is to end, while the run goes on elsewhere.
            Unavailable: if the run could not be submitted, its tracking server on this machine
                does not answer, it is ended with the process, or it failed on this machine by
                what passes: the next attempt goes on behind what it has finished.
            LeaseLost: if the task was cancelled.
        """
        if not self._remote:
            return self._run_here(context)
        run_id = self._submitted(context)
        try:
            facts = self._follow(context, run_id)
        except Unavailable as error:
            # Nothing but the end of this process: what else is away is waited for.
            raise HandedOver(f"The run {run_id} goes on: {error}") from error
        with self._sessions.begin() as session:
            end_run(session, context.task_id)
        return facts

    def _run_here(self, context: StepContext) -> dict[str, Any]:
        run_id = self._begun_here(context)
        try:
            facts = self._follow(context, run_id)
        except LeaseLost:
            # Who has taken it over follows the same run.
            if not self._still_runs(context.task_id):
                self._backend.cancel(run_id)
            raise
        except BaseException:
            self._backend.cancel(run_id)
            raise
        context.storage.keep(context.layout.train_log(context.task_id))
        return facts

    def _submitted(self, context: StepContext) -> str:
        """The id of the task's run on Kubeflow Pipelines, which is submitted if it has none."""
        task_id = context.task_id
        with self._sessions.begin() as session:
            run_id = ask_for_run(session, task_id)
        if not run_id:
            arguments = self._arguments(context)
            # Not one that was cancelled meanwhile: from here on its run is looked for.
            self._look_at_row(task_id)
            run_id = self._backend.submit(RunRequest("training", run_name(task_id), arguments))
            with self._sessions.begin() as session:
                note_run(session, task_id, run_id)
            logger.info("the run %s is followed", run_id, extra={"task_id": task_id})
        return run_id

    def _begun_here(self, context: StepContext) -> str:
        """The id of a run on this machine: one that has not ended badly, or else a new one."""
        layout, storage = context.layout, context.storage
        number, name = 1, run_name(context.task_id)
        while (found := self._backend.find(name)) is not None:
            if found.state is RunState.SUCCEEDED or not found.state.ended:
                return found.run_id
            number += 1
            name = f"{run_name(context.task_id)}-{number}"
        if context.settings.mlflow_uri:
            # In a stack that starts, or starts again, it may still be on its way.
            check_answers(context.settings.mlflow_uri)
        # What the steps read is brought here, since they are given no key of an S3 storage.
        storage.bring(layout.labels(context.task_id))
        if layout.labelled_images(context.task_id) == layout.frames(context.task_id):
            storage.bring(layout.frames(context.task_id))
        # An earlier attempt's words must not be taken for this one's.
        shutil.rmtree(layout.step_reports(context.task_id), ignore_errors=True)
        return self._backend.submit(RunRequest("training", name, self._arguments(context)))

    def _arguments(self, context: StepContext) -> dict[str, Any]:
        training = context.work.training
        name = context.work.served_name(context.user_id)
        if context.earlier and not training.weights:
            # Never from a client: what it may give is checked where it is taken.
            weights = f"models:/{name}@{context.settings.champion_alias}"
            training = training.model_copy(update={"weights": weights})
        elif training.weights.startswith("key:"):
            own = training.weights.removeprefix("key:")
            key = context.storage.key_of(context.own(own))
            if not self._remote:
                context.bring_own(own)
            elif context.storage.stat(key) is None:
                raise NotFound(f"There is no file {own!r} among yours: upload it first.")
            training = training.model_copy(update={"weights": f"{STORED}{key}"})
        return {
            "task_id": context.task_id,
            "model_name": name,
            "labels": context.spec.model_dump_json(),
            "training": training.model_dump_json(),
            "held_out": context.work.held_out,
            "labels_digest": labels_digest(context.storage, context.task_id),
        }

    def _follow(self, context: StepContext, run_id: str) -> dict[str, Any]:
        seen = _following(context, run_id)
        if self._remote:
            seen.stalls = StallWatch(self._settings, self._backend)
        due, hint, pause = 0.0, None, self._poll
        while True:
            context.check()
            hinted = self._look_at_row(context.task_id)
            if hinted != hint or time.monotonic() >= due:
                # Who asks to be looked at is about to end: its exit handler itself still runs.
                pause = min(_TICK_SECONDS if hinted != hint else 2 * pause, self._poll)
                due, hint = time.monotonic() + pause, hinted
                if (run := self._look(context, seen)) is not None and _is_over(run, seen):
                    return self._ended(run, seen)
            # Of two tellings closer together the second one would be left out.
            self._stopping.wait(
                min(max(due - time.monotonic(), _LOCAL_POLL_SECONDS), _TICK_SECONDS)
            )

    def _look_at_row(self, task_id: str) -> datetime | None:
        """When the run last asked to be looked at; raises LeaseLost if the task has ended."""
        try:
            with self._sessions() as session:
                running, hinted = watched(session, task_id, TRAINING)
        except OperationalError as error:
            logger.warning("the database does not answer: %s", error, extra={"task_id": task_id})
            return None
        if not running:
            raise LeaseLost("The task has ended, or its training was taken over.")
        return hinted

    def _still_runs(self, task_id: str) -> bool:
        with self._sessions() as session:
            return watched(session, task_id, TRAINING)[0]

    def _look(self, context: StepContext, seen: _Following) -> RunStatus | None:
        """Look at the run and tell how far it is; None if it could not be looked at."""
        run: RunStatus | None = None
        try:
            run = self._status(seen.run_id, context.task_id)
            reports = self._reports(context)
        except StepFailed:
            raise
        except ActverseError as error:
            # While a run is known, none of these is a reason to let go of it.
            if not self._remote:
                raise
            silent = run is None and isinstance(error, Unavailable)
            what = "Kubeflow Pipelines does not answer" if silent else "The run cannot be looked at"
            seen.away = seen.away or now()
            self._tell(context, seen, f"{what} since {seen.away:%Y-%m-%d %H:%M} UTC: {error}")
            return None
        seen.url, seen.state, seen.away = run.url, run.state.value, None
        seen.reports = step_reports(run, reports)
        note = seen.stalls.look(run, reports) if seen.stalls else ""
        return run if self._tell(context, seen, note) else None

    def _status(self, run_id: str, task_id: str) -> RunStatus:
        try:
            return self._backend.status(run_id)
        except NotFound as error:
            # An answer that is not Kubeflow's own, a proxy's say: the run is there.
            there = self._backend.find(run_name(task_id))
            if there is not None and there.run_id == run_id:
                raise Unavailable(str(error)) from error
            where = " in Kubeflow Pipelines" if self._remote else ""
            raise StepFailed(
                f"The pipeline run {run_id} was deleted{where} before its end was seen: run the "
                "task again."
            ) from error

    def _reports(self, context: StepContext) -> list[StepReport]:
        folder = context.layout.step_reports(context.task_id)
        if self._remote:
            try:
                context.storage.bring(folder)
            except NotFound:
                return []  # no step has begun
        return read_reports(folder)

    def _tell(self, context: StepContext, seen: _Following, note: str = "") -> bool:
        """Write down what was seen; say whether that could be done."""
        facts: dict[str, Any] = {
            "run": {
                "backend": KUBEFLOW if self._remote else LOCAL,
                "run_id": seen.run_id,
                "url": seen.url,
                "state": seen.state,
                "note": note,
            },
            "pipeline": _facts(context, seen.reports),
        }
        if facts == seen.told:
            return True
        try:
            context.progress(percent(seen.reports), 100 * len(TRAINING_STEPS), **facts)
        except OperationalError as error:
            if not self._remote:
                raise
            logger.warning(
                "the database does not answer: %s", error, extra={"task_id": context.task_id}
            )
            return False
        seen.told = facts
        return True

    def _ended(self, run: RunStatus, seen: _Following) -> dict[str, Any]:
        if run.state in (RunState.CANCELED, RunState.CANCELING):
            where = " in Kubeflow Pipelines" if self._remote else ""
            raise StepFailed(
                f"The pipeline run {run.name} was cancelled{where}: run the task again."
            )
        broken = run.state.ended and run.state not in (RunState.SUCCEEDED, RunState.CACHED)
        if broken or any(report.state == "failed" for report in seen.reports.values()):
            # On Kubeflow Pipelines the run's own steps are repeated, and a run has one name.
            passing = None if self._remote else passing_failure(run, seen.reports)
            raise (passing or StepFailed)(failure(run, seen.reports))
        if missing := unreported(seen.reports):
            raise StepFailed(
                f"The pipeline run {run.name} has ended, but nothing is known of its steps "
                f"{', '.join(missing)}: look for their reports in the storage."
            )
        return seen.told


def _is_over(run: RunStatus, seen: _Following) -> bool:
    """Whether it has ended, be it without the exit handler, which only tells us of the end."""
    return run.state.ended or (seen.stalls is not None and seen.stalls.only_its_end_is_due)


def _following(context: StepContext, run_id: str) -> _Following:
    """What is known of a run that somebody has followed before; else nothing."""
    facts = context.facts.get(TRAINING, {})
    before = facts.get("run", {})
    if before.get("run_id") != run_id:
        return _Following(run_id)
    reports = {name: StepReport(**told) for name, told in facts.get("pipeline", {}).items()}
    return _Following(run_id, before["url"], before["state"], reports=reports)


def _facts(context: StepContext, reports: dict[str, StepReport]) -> dict[str, Any]:
    facts = {}
    for name, report in reports.items():
        facts[name] = {**report.__dict__, "error": context.in_users_words(report.error)}
        for inner in ("seen", "passing"):  # that a step is alive is no news
            del facts[name][inner]
    return facts
