"""From a task's unfinished steps to Celery messages: a chain, with a chord where steps fork."""

import logging
from typing import Any

from celery import Celery, chain, chord, group
from sqlalchemy import update

from components.settings import Settings
from gateway.celery_app import STEP
from gateway.database import Sessions
from gateway.flows import STEPS, TRAINING
from gateway.models import Step, now
from gateway.step_limits import limits_of
from gateway.tasks import OPEN, read_task, unfinished_stages

logger = logging.getLogger("actverse.dispatch")

_SECONDS_TO_END = 30


class Dispatcher:
    """Sends the messages that bring steps to workers."""

    def __init__(self, settings: Settings, sessions: Sessions, celery: Celery) -> None:
        self.settings = settings
        self.sessions = sessions
        self.celery = celery

    def send(self, task_id: str, *, noted: bool = False) -> bool:
        """Queue what a task has to do next, and all that follows up to the training.

        Args:
            noted: whether ``recover`` has written down already that it is queued.

        Returns:
            False if the broker is away: beat queues it later, so nothing is lost.
        """
        with self.sessions.begin() as session:
            task = read_task(session, task_id)
            if task.state not in OPEN:
                return True
            stages = self._brought_by_messages(unfinished_stages(task))
            for step in stages[0] if stages and not noted else []:
                step.queued = now()
                step.sendings += 1
        if not stages:
            return True
        try:
            self._canvas(task_id, stages).apply_async()
        except Exception as error:  # noqa: BLE001 (each transport has errors of its own)
            logger.warning(
                "the broker did not take the steps (%s: %s); beat queues them later",
                type(error).__name__,
                error,
                extra={"task_id": task_id},
            )
            self._forget(stages[0])
            return False
        return True

    def _forget(self, steps: list[Step]) -> None:
        """Nothing was sent for these: beat need not wait until it has been lost."""
        with self.sessions.begin() as session:
            session.execute(
                update(Step)
                .where(Step.id.in_([step.id for step in steps]), Step.state == "pending")
                .values(queued=None)
            )

    def _brought_by_messages(self, stages: list[list[Step]]) -> list[list[Step]]:
        """The stages up to the training, which the watcher takes by itself."""
        following = []
        for stage in stages:
            if any(step.name == TRAINING for step in stage):
                break
            following.append(stage)
        return following

    def _canvas(self, task_id: str, stages: list[list[Step]]) -> Any:
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
        return canvas[0] if len(canvas) == 1 else chain(*canvas, app=self.celery)

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
