"""Real Celery workers and a real gateway for tests, started, killed and started again."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from sqlalchemy import select, update

from components.settings import Settings
from gateway.celery_app import create_celery
from gateway.database import Sessions, open_database, upgrade_database
from gateway.dispatch import Dispatcher
from gateway.flows import Queue
from gateway.heartbeats import queue_heartbeat
from gateway.http_limits import SERVER_ARGUMENTS
from gateway.models import Heartbeat, Notification, Step, Task, now
from gateway.status import task_status
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.servers import free_ports, wait_until

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Workers:
    """The background parts of one gateway: a worker for the steps, one for errands, beat."""

    settings: Settings
    sessions: Sessions
    slots: int = 3
    queues: tuple[Queue, ...] = tuple(Queue)
    app: str = "gateway.celery_app:app"
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    gateway_port: int = 0

    @property
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.settings, self.sessions, create_celery(self.settings))

    @property
    def log(self) -> Path:
        return self.settings.home / "workers.log"

    def start(self, gateway: bool = False, wait: bool = True) -> None:
        """Start them and, where their broker is there, wait until each has shown itself."""
        with self.sessions.begin() as session:
            for heart in session.scalars(select(Heartbeat)):
                if heart.name in self._hearts:
                    session.delete(heart)
        steps = [queue.value for queue in self.queues if queue is not Queue.NOTIFICATION]
        self._celery("steps", steps, "--concurrency", str(self.slots))
        if Queue.NOTIFICATION in self.queues:
            self._celery(
                *("errands", [Queue.NOTIFICATION.value], "--concurrency", "4"),
                *("--pool", "threads"),
            )
            self.start_beat()
        if gateway:
            self.gateway_port = self.gateway_port or free_ports(1)[0]
            self._run(
                *("uvicorn", "--factory", "gateway.server:create_server"),
                *("--port", str(self.gateway_port), "--no-access-log", *SERVER_ARGUMENTS),
            )
            wait_until(self._gateway_answers, 60, "the gateway")
        if wait:
            wait_until(self._alive, 60, "the workers")

    def start_beat(self) -> None:
        """Start beat alone."""
        schedule = str(self.settings.home / "beat-schedule")
        self._run("celery", "--app", self.app, "beat", "--schedule", schedule, "--pidfile", "")

    def kill(self) -> None:
        """End every process, and what it started, as a power cut would."""
        family = [
            member
            for process in self.processes
            if psutil.pid_exists(process.pid)
            for member in psutil.Process(process.pid).children(recursive=True)
        ]
        for process in self.processes:
            process.kill()
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        for process in self.processes:
            process.wait()
        psutil.wait_procs(family, 10)
        self.processes.clear()

    def expire_leases(self) -> None:
        """Let the leases of all steps and notifications run out: whoever holds them is dead."""
        with self.sessions.begin() as session:
            session.execute(update(Step).where(Step.state == "running").values(lease_until=now()))
            in_the_air = update(Notification).where(Notification.state == "sending")
            session.execute(in_the_air.values(lease_until=now()))

    def revive(self) -> None:
        """Start what has ended again, as a supervisor does."""
        ended = [process for process in self.processes if process.poll() is not None]
        for process in ended:
            self.processes.remove(process)
            self._run(*process.args[2:])  # type: ignore[index]

    def stop(self) -> None:
        """End them as a user would."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                return
        self.processes.clear()

    def fork_servers(self) -> list[psutil.Process]:
        """Those from which the steps' processes are forked."""
        worker = psutil.Process(self.step_worker.pid)
        return [one for one in worker.children() if "components.fork_server" in one.cmdline()]

    @property
    def step_worker(self) -> "subprocess.Popen[bytes]":
        """The worker that runs the steps."""
        name = f"steps-{self.settings.home.name}@%h"
        return next(one for one in self.processes if name in one.args)  # type: ignore[operator]

    def children(self) -> list[int]:
        """The processes of the steps that run, not what these have started."""
        return [child.pid for one in self.fork_servers() for child in one.children()]

    def add(self, kind: str, work: Work, user: str = "ada") -> str:
        """Store a task without telling anybody."""
        with self.sessions.begin() as session:
            return create_task(session, user, kind, work).id

    def submit(self, kind: str, work: Work, user: str = "ada") -> str:
        """Store a task and queue it, as the gateway does."""
        task_id = self.add(kind, work, user)
        self.dispatcher.send(task_id)
        return task_id

    def state(self, task_id: str) -> str:
        with self.sessions() as session:
            return session.get_one(Task, task_id).state

    def facts(self, task_id: str, step: str) -> dict:
        with self.sessions() as session:
            return next(s.facts for s in read_task(session, task_id).steps if s.name == step)

    def progress(self, task_id: str, step: str) -> float:
        """How far a step is, in percent."""
        with self.sessions() as session:
            return next(s.percent for s in read_task(session, task_id).steps if s.name == step)

    def wait_for(self, task_id: str, *states: str, seconds: float = 120) -> None:
        """Wait until a task is in one of ``states``; a failure is shown with its sentence."""
        wanted = states or ("succeeded",)

        def there() -> bool:
            with self.sessions() as session:
                task = read_task(session, task_id)
                ended = task.state in ("failed", "cancelled") and task.state not in wanted
                assert not ended, f"{task.error}\n{self.log.read_text()[-3000:]}"
                return task.state in wanted

        try:
            wait_until(there, seconds, f"{task_id} to be {' or '.join(wanted)}")
        except AssertionError as error:
            with self.sessions() as session:
                status = task_status(read_task(session, task_id)).model_dump_json(indent=1)
            raise AssertionError(f"{error}\n{status}\n{self.log.read_text()[-3000:]}") from error

    def _celery(self, name: str, queues: Sequence[str], *options: str) -> None:
        self._run(
            *(
                "celery",
                "--app",
                self.app,
                "worker",
                "--hostname",
                f"{name}-{self.settings.home.name}@%h",
            ),
            *("--queues", ",".join(queues), *options),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        )

    def _run(self, *arguments: str) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *arguments],
                    cwd=ROOT,
                    env={**self.settings.environment(secrets=True), **self.environment},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    @property
    def _hearts(self) -> set[str]:
        return {queue_heartbeat(queue) for queue in self.queues}

    def _alive(self) -> bool:
        with self.sessions() as session:
            return self._hearts <= set(session.scalars(select(Heartbeat.name)))

    def _gateway_answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.gateway_port}/healthz"
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False


def new_workers(settings: Settings, **options: object) -> Workers:
    """Workers on a database that is made here; not started."""
    upgrade_database(settings.database_url)
    return Workers(settings, open_database(settings.database_url), **options)  # type: ignore[arg-type]
