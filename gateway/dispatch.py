"""From a task's unfinished steps to Celery messages: a chain, with a chord where steps fork.

A chain goes as far as one queue does. Before each, the user needs one of ``user_steps`` places at
that queue's workers; what has none waits in the database, where it keeps nobody waiting.
"""

import itertools
import logging
import sys
from collections.abc import Collection
from enum import Enum, auto
from typing import Any

from celery import Celery, chain, chord, group
from sqlalchemy import update

from components.settings import Settings
from gateway.celery_app import STEP
from gateway.database import Sessions
from gateway.flows import STEPS, Queue, queue_of
from gateway.leases import take_place, without_place
from gateway.models import Step
from gateway.step_limits import limits_of
from gateway.tasks import OPEN, read_task, unfinished_stages

logger = logging.getLogger("actverse.dispatch")

_SECONDS_TO_END = 30


class _Sent(Enum):
    SENT = auto()
    WAITS = auto()
    AWAY = auto()


class Dispatcher:
    """Sends the messages that bring steps to workers."""

    def __init__(self, settings: Settings, sessions: Sessions, celery: Celery) -> None:
        self.settings = settings
        self.sessions = sessions
        self.celery = celery

    def send(self, task_id: str) -> bool:
        """Queue what a task has to do next, and all that follows on the same queue.

        Where its user has no place free at that queue's workers, it waits in the database: the
        next of the user's steps that ends makes room for it, and beat looks too.

        Returns:
            False if the broker is away: beat queues it later, so nothing is lost.
        """
        return self._send(task_id) is not _Sent.AWAY

    def send_again(self, task_id: str, names: Collection[str]) -> bool:
        """Queue those steps of a task that are marked as queued now, as by ``recover``."""
        with self.sessions() as session:
            task = read_task(session, task_id)
            stages = unfinished_stages(task) if task.state in OPEN else []
        return self._publish(task_id, stages, names) is not _Sent.AWAY

    def go_on(self, task_id: str, name: str, *, brings_next: bool) -> None:
        """Queue what a step that has ended makes room for.

        Args:
            brings_next: whether the step's message brings what follows on the same queue.
        """
        queue = queue_of(name)
        with self.sessions() as session:
            task = read_task(session, task_id)
            position = next(step.position for step in task.steps if step.name == name)
            stages = unfinished_stages(task) if task.state in OPEN else []
            done = bool(stages) and stages[0][0].position > position
        if done and queue_of(stages[0][0].name) != queue:
            self.send(task_id)
        elif done and not brings_next:
            self.send_again(task_id, [step.name for step in stages[0]])
        if queue is not None:
            self.send_next(task.user_id, queue)

    def send_next(self, user_id: str, queue: Queue) -> None:
        """Queue what else of a user's waits for a place at a queue, the oldest first."""
        share = self.settings.user_steps
        with self.sessions() as session:
            waiting = without_place(session, user_id, queue, most=share)
        for task_id in waiting:
            if self._send(task_id) is not _Sent.SENT:
                return

    def lying(self, queue: Queue) -> int:
        """How many messages lie in a queue and were not taken; many where nobody can be asked."""
        try:
            with self.celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                try:
                    channel = connection.default_channel
                    declared = channel.queue_declare(queue=queue.value, passive=True)
                except connection.channel_errors:
                    return 0  # there is no such queue yet
                return int(declared.message_count)
        except Exception as error:  # noqa: BLE001 (each transport has errors of its own)
            logger.warning("the broker does not say what lies in it (%s)", type(error).__name__)
            return sys.maxsize

    def _send(self, task_id: str) -> "_Sent":
        with self.sessions.begin() as session:
            task = read_task(session, task_id)
            names = take_place(session, task, self.settings.user_steps)
        if not names:
            return _Sent.WAITS
        return self._publish(task_id, unfinished_stages(task), names)

    def _publish(self, task_id: str, stages: list[list[Step]], names: Collection[str]) -> "_Sent":
        first = [step for step in stages[0] if step.name in names] if stages else []
        if not first:
            return _Sent.WAITS
        # Parts beside others that are out already: who ends last looks at what follows.
        alone = len(first) < len(stages[0])
        following = [] if alone else self._of_one_queue(stages)[1:]
        try:
            for canvas in self._canvases(task_id, [first, *following], alone=alone):
                canvas.apply_async()
        except Exception as error:  # noqa: BLE001 (each transport has errors of its own)
            logger.warning(
                "the broker did not take the steps (%s: %s); beat queues them later",
                type(error).__name__,
                error,
                extra={"task_id": task_id},
            )
            self._forget(first)
            return _Sent.AWAY
        return _Sent.SENT

    def _forget(self, steps: list[Step]) -> None:
        """Nothing was sent for these: beat need not wait until it has been lost."""
        with self.sessions.begin() as session:
            session.execute(
                update(Step)
                .where(
                    Step.id.in_([step.id for step in steps]),
                    Step.state.in_(("pending", "waiting")),
                )
                .values(queued=None)
            )

    def _of_one_queue(self, stages: list[list[Step]]) -> list[list[Step]]:
        """The stages that the workers of one queue run after each other."""
        queue = queue_of(stages[0][0].name)
        return list(
            itertools.takewhile(lambda stage: {queue_of(s.name) for s in stage} == {queue}, stages)
        )

    def _canvases(self, task_id: str, stages: list[list[Step]], *, alone: bool) -> list[Any]:
        if alone:
            return [self._signature(task_id, step.name) for step in stages[0]]
        canvas = []
        names = [[step.name for step in stage] for stage in stages]
        while names:
            stage = names.pop(0)
            in_chord = len(stage) > 1 and bool(names)
            # Only a chord asks what came of a message.
            parts = [self._signature(task_id, name, ignore_result=not in_chord) for name in stage]
            if in_chord:
                (end,) = names.pop(0)
                canvas.append(chord(group(parts, app=self.celery), self._signature(task_id, end)))
            else:
                canvas += parts
        return [canvas[0] if len(canvas) == 1 else chain(*canvas, app=self.celery)]

    def _signature(self, task_id: str, name: str, ignore_result: bool = True) -> Any:
        # The worker keeps the time of a step; what does not end then is ended with its process.
        seconds = limits_of(name, self.settings).seconds
        return self.celery.signature(
            STEP,
            args=(task_id, name),
            immutable=True,
            ignore_result=ignore_result,
            queue=STEPS[name].queue.value,
            soft_time_limit=seconds,
            time_limit=seconds + _SECONDS_TO_END,
        )
