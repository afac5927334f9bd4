"""The Celery worker's side: what its tasks do. ``celery -A gateway.celery_app worker``"""

import logging
import os
import socket
import threading
from datetime import timedelta
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from sqlalchemy import select

from components.errors import StepFailed
from components.settings import Settings
from components.storage import open_storage
from gateway.alive import sign_path
from gateway.celery_app import DELIVER, NOTIFY, RECOVER, STEP, create_celery
from gateway.database import Sessions, open_database
from gateway.dispatch import Dispatcher
from gateway.flows import TRAINING
from gateway.heartbeats import BEAT, WORKER, Heart, beat_once, queue_heartbeat
from gateway.leases import claim_step, recover
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

    @celery.task(name=RECOVER, ignore_result=True, expires=60)
    def find_lost() -> None:
        _recover(process())

    @celery.task(name=DELIVER, ignore_result=True, expires=60)
    def deliver() -> None:
        from gateway.notifications.deliver import deliver_events

        here = process()
        for notification in deliver_events(here.settings, here.sessions):
            celery.send_task(NOTIFY, args=(notification,), ignore_result=True)

    @celery.task(name=NOTIFY, bind=True, ignore_result=True, max_retries=None)
    def notify(self: Task, notification_id: int) -> None:
        from gateway.notifications.deliver import send_notification

        here = process()
        again_in = send_notification(here.settings, here.sessions, notification_id)
        if again_in is not None:
            raise self.retry(countdown=again_in)

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
    if ended.outcome is Outcome.RETRIED:
        raise message.retry(countdown=ended.again_in)
    _hint_delivery(message)
    if ended.outcome is not Outcome.SUCCEEDED and not in_chord:
        raise Ignore


def _has_succeeded(here: _Process, task_id: str, name: str) -> bool:
    with here.sessions() as session:
        query = select(Step.state).where(Step.task_id == task_id, Step.name == name)
        return session.scalar(query) == "succeeded"


def _hint_delivery(message: Task) -> None:
    """Events are sent on at once; beat sees to it if this message is lost."""
    try:
        message.app.send_task(DELIVER, ignore_result=True)
    except Exception:  # noqa: BLE001 (each transport has errors of its own)
        logger.info("the broker did not take the hint to deliver events; beat gives it")


def _recover(here: _Process) -> None:
    beat_once(here.sessions, BEAT)
    with here.sessions.begin() as session:
        found = recover(
            session,
            timedelta(seconds=here.settings.requeue_seconds),
            not_for=(TRAINING,),
        )
    for task_id, names in found:
        logger.warning("steps are queued again: %s", ", ".join(names), extra={"task_id": task_id})
        here.dispatcher.send(task_id, noted=True)


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
