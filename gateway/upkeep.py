"""What beat looks after: steps that were lost or wait for a place, and events to be told."""

import logging
from collections.abc import Callable
from datetime import timedelta

from celery import Celery

from components.settings import Settings
from gateway.celery_app import DELIVER, NOTIFY, RECOVER
from gateway.database import open_database
from gateway.dispatch import Dispatcher
from gateway.flows import TRAINING, Queue
from gateway.heartbeats import BEAT, beat_once
from gateway.leases import recover
from gateway.notifications.deliver import deliver_events

logger = logging.getLogger("actverse.beat")


class Upkeep:
    """The errands of one process; its connections are opened here, and not to be forked."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self.settings = settings
        self.celery = celery
        self.sessions = open_database(settings.database_url)
        self.dispatcher = Dispatcher(settings, self.sessions, celery)

    def errands(self) -> dict[str, Callable[[], None]]:
        """What is done, by its name in beat's schedule."""
        return {RECOVER: self.recover, DELIVER: self.deliver}

    def recover(self) -> None:
        """Queue what was lost, and what waits for a place that is free; the users take turns."""
        beat_once(self.sessions, BEAT)
        with self.sessions.begin() as session:
            found = recover(
                session,
                timedelta(seconds=self.settings.requeue_seconds),
                not_for=(TRAINING,),
                share=self.settings.user_steps,
                lying=self.dispatcher.lying,
            )
        for task_id, names in found:
            logger.info("steps are queued: %s", ", ".join(names), extra={"task_id": task_id})
            self.dispatcher.send_again(task_id, names)

    def deliver(self) -> None:
        """Publish events, and queue the notifications that they call for."""
        lying = lambda: self.dispatcher.lying(Queue.NOTIFICATION)  # noqa: E731
        for notification in deliver_events(self.settings, self.sessions, lying):
            self.celery.send_task(NOTIFY, args=(notification,), ignore_result=True)
