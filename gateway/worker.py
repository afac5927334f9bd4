"""The Celery worker's side: what its tasks do. ``celery -A gateway.celery_app worker``"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Ignore
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from components.fork_server import ForkServer
from components.serving.leftovers import remove_abandoned
from components.settings import Settings
from components.storage import open_storage
from gateway import step_child
from gateway.alive import worker_sign
from gateway.celery_app import NOTIFY, PROBE, STEP, create_celery
from gateway.database import Sessions, open_database
from gateway.dispatch import Dispatcher
from gateway.flows import Queue
from gateway.heartbeats import Heart, queue_heartbeat
from gateway.leases import claim_step
from gateway.logs import set_up_logs
from gateway.models import Step
from gateway.notifications.rules import TEST_RULE, send_test
from gateway.pulse import Pulse, errand_queue
from gateway.runner import Ended, Outcome, StepRunner
from gateway.step_limits import limits_of
from gateway.step_processes import StepProcesses

logger = logging.getLogger("actverse.worker")


class _Process:
    """What the worker's process keeps open."""

    def __init__(self, settings: Settings, celery: Celery, modules: Sequence[str]) -> None:
        self.settings = settings
        self.celery = celery
        self.sessions: Sessions = open_database(settings.database_url)
        self.runner = StepRunner(settings, self.sessions, open_storage(settings))
        self.dispatcher = Dispatcher(settings, self.sessions, celery)
        queues = [name for name in celery.amqp.queues.consume_from if name in set(Queue)]
        self.server = ForkServer(
            [step_child.__name__, *modules],
            step_child.modules_for(queues),
            step_child.begin,
            settings.environment(secrets=True),
            settings.worker_silence,
        )
        self.pulse: Pulse | None = None
        self.steps = StepProcesses(settings, self.runner, self.server, self.works)

    @property
    def holder(self) -> str:
        """Who holds a lease: one thread of one process of one machine."""
        return f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident():x}"

    def works(self) -> None:
        """Something was done here."""
        if self.pulse is not None:
            self.pulse.beat()


def worker_app(settings: Settings | None = None, modules: Sequence[str] = ()) -> Celery:
    """The application with its tasks, for a worker or beat.

    Args:
        modules: further ones that the processes of steps have from their beginning.
    """
    settings = settings or Settings()
    celery = create_celery(settings, results=True)
    opened: list[_Process] = []
    opening = threading.Lock()

    def process() -> _Process:
        # Beat and who only sends messages need none of it.
        with opening:
            if not opened:
                opened.append(_Process(settings, celery, modules))
            return opened[0]

    @celery.task(name=STEP, bind=True, max_retries=None)
    def step(self: Task, task_id: str, name: str) -> None:
        _run_step(self, process(), task_id, name)

    @celery.task(name=PROBE, ignore_result=True)
    def probe() -> None:
        if (pulse := process().pulse) is not None:
            pulse.probe()

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

    _connect_signals(settings, process)
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
    limits = limits_of(name, here.settings)
    if (asked := (message.request.timelimit or (None, None))[1]) is not None:
        # Who sent it may have read other settings.
        limits = replace(limits, seconds=asked)
    ended = here.steps.run(step, holder, limits)
    if ended.outcome is Outcome.LOST and _has_succeeded(here, task_id, name):
        # Its process was ended after its work was done and written down.
        ended = Ended(Outcome.SUCCEEDED)
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


def _connect_signals(settings: Settings, process: Callable[[], _Process]) -> None:
    """Logs of ours, and a heart that beats while the worker works."""
    hearts: list[Heart | Pulse] = []

    @signals.setup_logging.connect(weak=False)
    def logs(**_: Any) -> None:
        set_up_logs(settings)

    @signals.celeryd_after_setup.connect(weak=False)
    def listen(sender: str, instance: Any, **_: Any) -> None:
        instance.app.amqp.queues.select_add(errand_queue(sender, settings.worker_silence))

    @signals.worker_ready.connect(weak=False)
    def ready(sender: Any, **_: Any) -> None:
        # A worker before this one may have been killed.
        remove_abandoned()
        here = process()
        queues = [queue for queue in sender.app.amqp.queues.consume_from if queue in set(Queue)]
        runs_steps = any(queue != Queue.NOTIFICATION for queue in queues)
        pulse = here.pulse = Pulse(
            sender.app,
            sender.hostname,
            here.server if runs_steps else None,
            settings.worker_silence,
        )
        names = [queue_heartbeat(queue) for queue in queues]
        sign = worker_sign(settings.home, sender.hostname.partition("@")[0])
        heart = Heart(open_database(settings.database_url), names, sign, pulse.works)
        for thread in (pulse, heart):
            thread.start()
            hearts.append(thread)

    @signals.task_postrun.connect(weak=False)
    def done(**_: Any) -> None:
        process().works()

    @signals.worker_shutting_down.connect(weak=False)
    def ending(**_: Any) -> None:
        process().steps.stop()
        for heart in hearts:
            heart.stop()

    @signals.worker_shutdown.connect(weak=False)
    def ended(**_: Any) -> None:
        process().server.stop()
