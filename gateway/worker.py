"""The Celery worker's side: what its tasks do. ``celery -A gateway.celery_app worker``"""

import logging
import os
import socket
import sys
import threading
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from components.errors import StepFailed
from components.settings import Settings
from components.storage import open_storage
from gateway.alive import sign_path
from gateway.celery_app import NOTIFY, STEP, create_celery
from gateway.database import Sessions, open_database
from gateway.dispatch import Dispatcher
from gateway.heartbeats import WORKER, Heart, queue_heartbeat
from gateway.leases import claim_step
from gateway.logs import set_up_logs
from gateway.models import Step
from gateway.notifications.rules import TEST_RULE, send_test
from gateway.runner import Outcome, StepRunner
from gateway.steps import FUNCTIONS
from gateway.steps.context import StepContext

logger = logging.getLogger("actverse.worker")


class _Process:
    """What one process of the worker keeps open; made in it, since nothing of it may be forked."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self.settings = settings
        self.sessions: Sessions = open_database(settings.database_url)
        self.runner = StepRunner(settings, self.sessions, open_storage(settings))
        self.dispatcher = Dispatcher(settings, self.sessions, celery)

    @property
    def holder(self) -> str:
        """Who holds a lease: one thread of one process of one machine."""
        return f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident():x}"


def worker_app(settings: Settings | None = None) -> Celery:
    """The application with its tasks, for a worker or beat."""
    settings = settings or Settings()
    celery = create_celery(settings, results=True)
    processes: dict[int, _Process] = {}
    opening = threading.Lock()

    def process() -> _Process:
        # By process id: a pool's children are forks of a parent that may have one too.
        with opening:
            if os.getpid() not in processes:
                processes[os.getpid()] = _Process(settings, celery)
            return processes[os.getpid()]

    @celery.task(name=STEP, bind=True, max_retries=None)
    def step(self: Task, task_id: str, name: str) -> None:
        _run_step(self, process(), task_id, name)

    @celery.task(name=NOTIFY, ignore_result=True)
    def notify(notification_id: int) -> None:
        from gateway.notifications.deliver import send_notification, take_due

        here = process()
        # What is to be tried again waits in the database, not as a message.
        send_notification(here.settings, here.sessions, notification_id)
        # It has made room for another one.
        for following in take_due(here.settings, here.sessions, lambda: sys.maxsize):
            celery.send_task(NOTIFY, args=(following,), ignore_result=True)

    @celery.task(name=TEST_RULE, ignore_result=True, expires=300)
    def test_rule(rule_id: int) -> None:
        here = process()
        send_test(here.settings, here.sessions, rule_id)

    _connect_signals(settings)
    return celery


def _run_step(message: Task, here: _Process, task_id: str, name: str) -> None:
    """Run the step if it may run now; else the message has no more to say.

    Parts of a chord always return: the step behind them looks at the database itself.
    """
    in_chord = message.request.chord is not None
    holder = here.holder
    with here.sessions.begin() as session:
        step = claim_step(session, task_id, name, holder, here.runner.lease)
    if step is None:
        if in_chord or _has_succeeded(here, task_id, name):
            return
        raise Ignore
    function = FUNCTIONS[name]

    def limited(context: StepContext) -> dict[str, Any]:
        try:
            return function(context)
        except SoftTimeLimitExceeded as error:
            raise StepFailed(
                f"The step {name} took longer than {message.request.timelimit[1]:g} s: give a "
                "shorter video, or raise ACTVERSE_STEP_TIMEOUT."
            ) from error

    ended = here.runner.run(step, holder, limited)
    _go_on(message, here, task_id, name)
    if ended.outcome is not Outcome.SUCCEEDED and not in_chord:
        # What is to be tried again waits in the database, not as a message.
        raise Ignore


def _has_succeeded(here: _Process, task_id: str, name: str) -> bool:
    with here.sessions() as session:
        query = select(Step.state).where(Step.task_id == task_id, Step.name == name)
        return session.scalar(query) == "succeeded"


def _go_on(message: Task, here: _Process, task_id: str, name: str) -> None:
    """Queue what the end of a step makes room for; beat does it if this cannot."""
    brings_next = bool(message.request.chain) or message.request.chord is not None
    try:
        here.dispatcher.go_on(task_id, name, brings_next=brings_next)
    except SQLAlchemyError:
        logger.exception("what follows a step was not queued; beat does it later")


def _connect_signals(settings: Settings) -> None:
    """Logs of ours, and a heart that beats while the worker lives."""
    hearts: list[Heart] = []

    @signals.setup_logging.connect(weak=False)
    def logs(**_: Any) -> None:
        set_up_logs(settings)

    @signals.worker_ready.connect(weak=False)
    def ready(sender: Any, **_: Any) -> None:
        names = [queue_heartbeat(queue) for queue in sender.app.amqp.queues.consume_from]
        sessions = open_database(settings.database_url)
        heart = Heart(sessions, names, sign_path(settings.home, WORKER))
        heart.start()
        hearts.append(heart)

    @signals.worker_shutting_down.connect(weak=False)
    def ending(**_: Any) -> None:
        for heart in hearts:
            heart.stop()
