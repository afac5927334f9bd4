"""One claimed step, run to its end in the database: its lease kept, its progress told.

Celery's workers and the watcher both run their steps through here.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from components.errors import ActverseError, Interrupted, StorageFull, Unavailable
from components.files import remove_leftovers
from components.layout import Layout
from components.settings import Settings
from components.steps import Progress
from components.storage import Storage
from components.video.source import is_url
from components.working_copies import WorkingCopies
from gateway.announce import announce
from gateway.database import Sessions
from gateway.events import record_event
from gateway.flows import STEPS, TRAINING
from gateway.leases import (
    MAX_ATTEMPTS,
    LeaseLost,
    fail_step,
    finish_step,
    hand_over_step,
    note_progress,
    release_step,
    renew_lease,
)
from gateway.models import Step, Task
from gateway.pipeline_events import record_pipeline
from gateway.rounds import earlier_rounds, look_at_labels
from gateway.steps.context import HandedOver, OtherTask, StepContext, Waiting
from gateway.tasks import OPEN, facts_of, read_task, work_of

logger = logging.getLogger("actverse.steps")

_PROGRESS_SECONDS, _RENEW_SECONDS = 0.2, 3.0
_BACKOFF_SECONDS, _BACKOFF_MAX_SECONDS = 2, 300
# With that backoff some ten minutes in the mean.
_PATIENT_ATTEMPTS = 12
# What may pass by itself.
_PASSING = (Unavailable, StorageFull)
# Those beside which no other step of the task writes to the task's folders.
_ALONE = ("download", "convert", "extract", "preannotate", "labels")

StepFunction = Callable[[StepContext], dict[str, Any]]


class Outcome(StrEnum):
    """How a step's attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    WAITING = "waiting"
    HANDED_OVER = "handed over"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    """How a step's attempt ended, and in how many seconds the next one may begin."""

    outcome: Outcome
    again_in: float = 0.0


class StepRunner:
    """Runs steps that were claimed.

    Args:
        stopping: set when the process is to end: a step is then left for another attempt.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        storage: Storage,
        stopping: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.storage = storage
        self.copies = WorkingCopies(storage, settings.home / "tasks")
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.stopping = stopping or threading.Event()

    def run(self, step: Step, holder: str, function: StepFunction) -> Ended:
        """Run ``function`` for a step that ``holder`` has claimed; every outcome is stored."""
        with self.lease_kept(step, holder) as lost:
            return self.run_held(step, holder, function, lost)

    @contextmanager
    def lease_kept(self, step: Step, holder: str) -> Iterator[threading.Event]:
        """Renew a step's lease while the block runs; what is given is set when it is lost."""
        ended, lost = threading.Event(), threading.Event()
        keeper = threading.Thread(
            target=self._keep_lease, args=(step.id, holder, ended, lost), daemon=True
        )
        keeper.start()
        try:
            yield lost
        finally:
            ended.set()
            keeper.join()

    def run_held(
        self,
        step: Step,
        holder: str,
        function: StepFunction,
        lost: threading.Event | None = None,
    ) -> Ended:
        """Run ``function`` for a step whose lease somebody renews; every outcome is stored.

        Args:
            lost: set when the lease is lost; the step is then left.
        """
        about = {"task_id": step.task_id, "step": step.name, "attempt": step.attempt}
        logger.info("step begins", extra=about)
        begun = time.monotonic()
        try:
            outcome = self._run(step, holder, function, lost or threading.Event())
        except LeaseLost as error:
            logger.warning("step was given up: %s", error, extra=about)
            outcome = Ended(Outcome.LOST)
        logger.info(
            "step %s",
            outcome.outcome,
            extra={
                **about,
                "outcome": str(outcome.outcome),
                "seconds": round(time.monotonic() - begun, 3),
            },
        )
        return outcome

    def fail(
        self, step: Step, holder: str, error: ActverseError, again_in: float | None = None
    ) -> Ended:
        """Write down that a step has failed whose process could not; tried again after a while.

        Raises:
            LeaseLost: if somebody else holds it.
        """
        self._clear(step)
        about = {"task_id": step.task_id, "step": step.name, "attempt": step.attempt}
        logger.error("step failed: %s", error, extra=about)
        return self._write_failure(step, holder, str(error), again_in)

    def forget(self, step: Step) -> None:
        """Remove what an ended process has left half done, if nobody goes on with the task."""
        with self.sessions() as session:
            task = session.get(Task, step.task_id)
            wanted = task is not None and task.state in OPEN
        if not wanted:
            self._clear(step)

    def _clear(self, step: Step) -> None:
        with self._storage_for(step) as storage:
            _remove_leftovers(storage.layout, step)

    def _run(self, step: Step, holder: str, function: StepFunction, lost: threading.Event) -> Ended:
        context: StepContext | None = None
        try:
            with self._storage_for(step) as storage:
                context = self._context(step, holder, lost, storage)
                facts = function(context)
            if lost.is_set():
                raise LeaseLost("The lease ran out while the step ran.")
        except LeaseLost:
            raise
        except Waiting as waiting:
            again_in = waiting.again_in
            with self.sessions.begin() as session:
                # What it is to do was changed while it looked, as by a user who waits no longer.
                if context and work_of(session.get_one(Task, step.task_id)) != context.work:
                    again_in = timedelta(0)
                release_step(
                    session,
                    step.id,
                    holder,
                    waiting.done,
                    waiting.total,
                    again_in,
                    context.in_users_words(waiting.fault) if context else waiting.fault,
                    waiting.facts,
                )
            announce(self.settings, step.task_id)
            return Ended(Outcome.WAITING, again_in.total_seconds())
        except HandedOver:
            with self.sessions.begin() as session:
                hand_over_step(session, step.id, holder)
            announce(self.settings, step.task_id)
            return Ended(Outcome.HANDED_OVER)
        except Exception as error:  # noqa: BLE001 (whatever breaks a step must end in its row)
            return self._failed(step, holder, context, error)
        with self.sessions.begin() as session:
            task = finish_step(session, step.id, holder, facts)
            self._record(session, task, step, "ended", facts)
            if context.labeling is not None:
                look_at_labels(session, context.labeling.task_id)
        announce(self.settings, step.task_id)
        if step.name == TRAINING and self.storage.is_copied:
            self._forget_training(step.task_id)
        return Ended(Outcome.SUCCEEDED)

    def _storage_for(self, step: Step) -> AbstractContextManager[Storage]:
        # Pipelines on this machine work where the storage itself does.
        return nullcontext(self.storage) if step.name == TRAINING else self.copies.of(step.task_id)

    def _forget_training(self, task_id: str) -> None:
        """Remove what a training that was kept has read and written on this machine."""
        layout = self.storage.layout
        for place in (layout.labels, layout.frames, layout.train_log):
            shutil.rmtree(place(task_id), ignore_errors=True)

    def _context(
        self, step: Step, holder: str, lost: threading.Event, storage: Storage
    ) -> StepContext:
        with self.sessions.begin() as session:
            task = session.get_one(Step, step.id).task
            self._record(session, task, step, "begun", {})
            earlier = tuple(_other(round_) for round_ in earlier_rounds(session, task))
            work = work_of(task)
            context = StepContext(
                settings=self.settings,
                storage=storage,
                task_id=task.id,
                user_id=task.user_id,
                work=work,
                facts=_of_the_video(earlier) | facts_of(task),
                progress=self._progress(step, holder, lost),
                check=lambda: self._check(lost),
                earlier=earlier,
                labeling=_other(read_task(session, work.labeling_task_id, task.user_id))
                if work.labeling_task_id
                else None,
                attempt=step.attempt,
            )
        if step.attempt > 1:
            _remove_leftovers(context.layout, step)
        announce(self.settings, step.task_id)
        return context

    def _record(
        self, session: Any, task: Task, step: Step, moment: str, facts: dict[str, Any]
    ) -> None:
        plan = STEPS.get(step.name)
        name = getattr(plan, moment) if plan else None
        # What a step had no need to do has not happened; a number is of skipped frames.
        if name is not None and facts.get("skipped") is not True:
            record_event(session, task, name, {"step": step.name, **facts})

    def _progress(self, step: Step, holder: str, lost: threading.Event) -> Progress:
        written = 0.0

        def progress(done: float, total: float, **facts: Any) -> None:
            nonlocal written
            self._check(lost)
            ended = total and done >= total
            if time.monotonic() - written < _PROGRESS_SECONDS and not ended:
                return
            written = time.monotonic()
            with self.sessions.begin() as session:
                task = note_progress(session, step.id, holder, done, total, facts)
                if step.name == TRAINING:
                    record_pipeline(session, task, facts)
            announce(self.settings, step.task_id)

        return progress

    def _check(self, lost: threading.Event) -> None:
        if lost.is_set():
            raise LeaseLost("Somebody else has taken this step over, or its task was cancelled.")
        if self.stopping.is_set():
            raise Unavailable("The worker is being stopped; the step goes on afterwards.")

    def _keep_lease(
        self, step_id: int, holder: str, ended: threading.Event, lost: threading.Event
    ) -> None:
        # A task that is cancelled is left this soon.
        while not ended.wait(min(self.settings.lease_seconds / 5, _RENEW_SECONDS)):
            try:
                with self.sessions.begin() as session:
                    if not renew_lease(session, step_id, holder, self.lease):
                        lost.set()
                        return
            except SQLAlchemyError:
                logger.exception("the lease of step %d was not renewed; tried again", step_id)

    def _failed(
        self, step: Step, holder: str, context: StepContext | None, error: Exception
    ) -> Ended:
        ours = isinstance(error, ActverseError)
        sentence = (
            str(error) if ours else f"The step {step.name} broke: {type(error).__name__}: {error}"
        )
        if context is not None:
            sentence = context.in_users_words(sentence)
        retry: float | None = None
        if self.stopping.is_set():
            retry = 0.0
        # A database that is locked or away is no fault of the step's.
        elif isinstance(error, (*_PASSING, OperationalError)) and step.attempt < _tries(
            step, context, error
        ):
            retry = backoff(step)
        logger.error(
            "step failed: %s",
            sentence,
            exc_info=not ours,
            extra={"task_id": step.task_id, "step": step.name, "attempt": step.attempt},
        )
        return self._write_failure(step, holder, sentence, retry)

    def _write_failure(self, step: Step, holder: str, sentence: str, retry: float | None) -> Ended:
        with self.sessions.begin() as session:
            fail_step(
                session,
                step.id,
                holder,
                sentence,
                None if retry is None else timedelta(seconds=retry),
            )
        announce(self.settings, step.task_id)
        return Ended(Outcome.FAILED) if retry is None else Ended(Outcome.RETRIED, retry)


def _remove_leftovers(layout: Layout, step: Step) -> None:
    if step.name in _ALONE:
        for place in (layout.video, layout.frames, layout.labels, layout.preannotations):
            remove_leftovers(place(step.task_id))


def backoff(step: Step) -> float:
    """Return the seconds until a step is tried again."""
    return float(
        get_exponential_backoff_interval(
            _BACKOFF_SECONDS, step.attempt - 1, _BACKOFF_MAX_SECONDS, full_jitter=True
        )
    )


def _other(task: Task) -> OtherTask:
    return OtherTask(task.id, work_of(task), facts_of(task), is_open=task.state in OPEN)


def _of_the_video(earlier: tuple[OtherTask, ...]) -> dict[str, dict[str, Any]]:
    first = earlier[0].facts if earlier else {}
    return {name: first[name] for name in ("download", "validate", "convert") if name in first}


def _tries(step: Step, context: StepContext | None, error: Exception) -> int:
    """How often a step is begun while what it needs is away.

    Our own services come back; who gave a wrong address, has to free space, or has too little
    memory, is to hear of it soon.
    """
    soon = isinstance(error, StorageFull | Interrupted)
    theirs = step.name == "download" and context is not None and is_url(context.work.file_path)
    return MAX_ATTEMPTS if theirs or soon else _PATIENT_ATTEMPTS
