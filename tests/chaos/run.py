"""One run: a stack, its load, the kills of a plan, and the judgement at the end."""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from actverse.client import Client
from components.errors import ActverseError
from components.settings import Settings
from gateway.database import Sessions, open_database
from gateway.models import Notification, Task
from gateway.tasks import OPEN
from tests.chaos.evidence import (
    Evidence,
    left_behind,
    notifications_there,
    registry_there,
    results_there,
    tasks_there,
)
from tests.chaos.findings import COLUMNS, Finding, Log, Struck
from tests.chaos.judge import judge
from tests.chaos.load import USERS, Load, Sink, draw_clips, running_sink
from tests.chaos.plan import AIMS, SENDERS, SERVERS, How, Kill, Shape, Target
from tests.chaos.processes import Found, choose, end_all, strike
from tests.chaos.servers import Servers, running_servers
from tests.chaos.stack import StackUnderTest
from tests.chaos.state import Seen, has_come, look

_TICK_SECONDS, _TRACK_SECONDS = 0.1, 1.0
_IDLE_AIM_SECONDS = 60.0
_BETWEEN_SECONDS = 5.0
_SETTLES = 4
_LAST_SECONDS, _RUNS_SECONDS = 10.0, 90.0
# Further ones may have been read before a worker became deaf.
_ENOUGH_STEPS = 4


@dataclass(frozen=True)
class Options:
    """How a run is to be.

    Attributes:
        minutes: no kill is begun after so many.
        settle: seconds for which nothing may change after the last kill before all is ended; it
            may take four times as long.
        stall: seconds for which work may be due while no worker begins any.
        most: how many short tasks are open at once.
        keep: leave the run's folder also if nothing was found.
        patience: seconds for which the moment of an aimed kill is waited for.
        trainings: whether there are any; they take minutes on a busy machine.
    """

    seed: int
    shape: Shape
    minutes: float = 60.0
    settle: float = 420.0
    stall: float = 150.0
    most: int = 3
    keep: bool = False
    trainings: bool = True
    patience: float = 300.0


@dataclass(frozen=True)
class Verdict:
    """What a run has found.

    Attributes:
        counts: findings by column.
        asked: tasks by kind.
        repeats: notifications that arrived again, as they may after a kill.
    """

    folder: Path
    planned: int
    struck: tuple[Struck, ...]
    findings: tuple[Finding, ...]
    asked: dict[str, int]
    repeats: int
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(finding.column for finding in self.findings)
        return {column: found[column] for column in COLUMNS}

    @property
    def done(self) -> int:
        return sum(1 for one in self.struck if one.victim)

    @property
    def aimed(self) -> int:
        return sum(1 for one in self.struck if one.victim and one.aimed and "while" in one.text)

    def as_dict(self, options: Options) -> dict[str, object]:
        return {
            "seed": options.seed,
            "shape": options.shape,
            "planned": self.planned,
            "kills": self.done,
            "aimed": self.aimed,
            "seconds": round(self.seconds, 1),
            "tasks": self.asked,
            "notifications_repeated": self.repeats,
            "counts": self.counts,
            "findings": [finding.__dict__ for finding in self.findings],
            "kills_done": [one.__dict__ for one in self.struck],
        }


def run(plan: list[Kill], options: Options, told: Callable[[str], None]) -> Verdict:
    """Run a plan; everything that was started is ended.

    Raises:
        RuntimeError: if the stack does not start, or does not work unkilled.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"actverse-chaos-{options.seed}-"))
    # A PostgreSQL that root starts runs as somebody else.
    folder.chmod(0o755)
    log = Log(folder, told)
    log.say(f"everything lies in {folder}")
    clips = draw_clips(folder / "clips")
    with _servers(folder, options.shape) as servers, running_sink() as sink:
        stack = StackUnderTest(folder, servers.environment if servers else {}, log)
        try:
            stack.start()
            log.say("the stack serves")
            load = Load(stack, clips, options.seed, options.most, log, trainings=options.trainings)
            load.prepare(sink)
            chaos = _Chaos(stack, servers, load, log, options)
            chaos.kill_all(plan)
            chaos.settle()
            evidence = chaos.evidence(sink)
            load.close()
        finally:
            stack.stop()
            end_all(stack.members())
    seen = Evidence(**{**evidence.__dict__, "left": _left(stack)})
    for finding in judge(seen):
        log.find(finding)
    verdict = Verdict(
        folder=folder,
        planned=len(plan),
        struck=tuple(log.struck),
        findings=tuple(log.findings),
        asked=dict(Counter(one.kind for one in seen.asked)),
        repeats=sum(
            len(moments) - 1 for titles in seen.arrived.values() for moments in titles.values()
        ),
        seconds=time.time() - log.begun,
    )
    result = folder / "result.json"
    result.write_text(json.dumps(verdict.as_dict(options), indent=1, default=str), encoding="utf-8")
    if not verdict.findings and not options.keep:
        shutil.rmtree(folder)
    return verdict


@contextmanager
def _servers(folder: Path, shape: Shape) -> Iterator[Servers | None]:
    if shape is Shape.EMBEDDED:
        yield None
        return
    with running_servers(folder / "servers") as servers:
        yield servers


def _left(stack: StackUnderTest) -> tuple:
    return left_behind(stack.home, stack.temporary, stack.family.pids, [stack.triton_port])


class _Chaos:
    """Kills by the plan while the load runs, and watches that work goes on."""

    def __init__(
        self,
        stack: StackUnderTest,
        servers: Servers | None,
        load: Load,
        log: Log,
        options: Options,
    ) -> None:
        self._stack, self._servers, self._load, self._log = stack, servers, load, log
        self._options = options
        self._settings: Settings = stack.settings
        self._sessions: Sessions = open_database(self._settings.database_url)
        self._seen = Seen()
        self._begun, self._progress = 0, time.monotonic()
        self._due: dict[tuple[str, str, int], float] = {}
        self._tracked = 0.0
        self._looks = self._stalls = 0
        load.open, load.looks = self._open, lambda: self._looks

    def kill_all(self, plan: list[Kill]) -> None:
        """Do the kills, one after the other."""
        self._load.start()
        end = time.monotonic() + 60 * self._options.minutes
        for kill in plan:
            self._work_for(kill.pause)
            if time.monotonic() > end:
                self._log.say(f"the time is over: {len(plan) - kill.number + 1} kills are left out")
                break
            self._do(kill)
        self._load.stop()

    def settle(self) -> None:
        """Wait until all work and all that follows from it has ended, or nothing moves any more."""
        self._log.say("no more kills; what is open comes to its end")
        end = time.monotonic() + _SETTLES * self._options.settle
        news, moved = -1, time.monotonic()
        while time.monotonic() < min(end, moved + self._options.settle) and self._unfinished():
            self._work_for(1.0)
            if (latest := self._revisions()) not in (news, None):
                news, moved = latest, time.monotonic()
        # The last version may still be on its way to Triton, a lost training's run be ended.
        self._work_for(_LAST_SECONDS)
        later = time.monotonic() + _RUNS_SECONDS
        while time.monotonic() < later and self._has_open_runs():
            self._work_for(1.0)

    def _has_open_runs(self) -> bool:
        runs, _ = registry_there(self._registry)
        return any(run.status == "RUNNING" for run in runs)

    @property
    def _registry(self) -> Path:
        return self._stack.home / "mlflow" / "mlflow.db"

    def evidence(self, sink: Sink) -> Evidence:
        """What is there now, while the stack still runs."""
        self._stack.keep_up()
        runs, versions = registry_there(self._registry)
        tasks = tasks_there(self._sessions, USERS)
        return Evidence(
            asked=tuple(self._load.asked),
            references=dict(self._load.references),
            tasks=tasks,
            told=notifications_there(self._sessions),
            arrived={user: dict(titles) for user, titles in sink.arrived.items()},
            senders_killed=tuple(
                one.time for one in self._log.struck if one.victim and one.target in SENDERS
            ),
            runs=runs,
            versions=versions,
            served=self._served(),
            results=results_there(self._settings.layout, tasks),
        )

    def _served(self) -> frozenset[tuple[str, int]] | None:
        try:
            with Client(self._stack.gateway, self._stack.admin_key()) as client:
                return frozenset((m["model"], int(m["version"])) for m in client.models())
        except ActverseError as error:
            self._log.find(Finding("lost", f"the gateway cannot say what is served: {error}"))
            return None

    def _open(self) -> Counter[str]:
        return Counter({step.task_id: step.kind for step in self._seen.steps}.values())

    def _unfinished(self) -> bool:
        try:
            with self._sessions() as session:
                tasks = session.scalar(select(Task.id).where(Task.state.in_(OPEN)).limit(1))
                unsent = select(Notification.id).where(Notification.state != "sent").limit(1)
                return tasks is not None or session.scalar(unsent) is not None
        except SQLAlchemyError:
            return True

    def _revisions(self) -> int | None:
        """A number that grows with every change of a task; None while it cannot be read."""
        try:
            with self._sessions() as session:
                return session.scalar(select(func.sum(Task.revision)))
        except SQLAlchemyError:
            return None

    def _work_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self._tick()
            if time.monotonic() >= end:
                return
            time.sleep(_TICK_SECONDS)

    def _tick(self) -> None:
        """Look at the database, and keep up what a machine's init and an operator would."""
        starts = self._stack.starts
        self._stack.keep_up()
        if self._stack.starts != starts:
            # Its workers have only just been started.
            self._due.clear()
            self._progress = time.monotonic()
        seen = look(self._sessions, self._settings.layout)
        if seen is not None:
            self._seen = seen
            self._looks += 1
        if time.monotonic() - self._tracked > _TRACK_SECONDS:
            # Some processes are short, and their ids are in the names of what they leave.
            self._stack.family.look()
            self._tracked = time.monotonic()
        self._watch_workers()

    def _watch_workers(self) -> None:
        moment = time.monotonic()
        if self._seen.begun != self._begun or self._seen.works:
            self._begun, self._progress = self._seen.begun, moment
        due = self._seen.due
        self._due = {one: self._due.get(one, moment) for one in due}
        waited = moment - max(self._progress, min(self._due.values(), default=moment))
        if due and waited > self._options.stall:
            ready = self._readyz()
            self._stalls += 1
            self._log.find(
                Finding(
                    "stalls",
                    f"no step was begun for {waited:.0f} s while {len(due)} were due; /readyz "
                    f"said {ready}",
                    tuple(sorted(f"{task}: {name}" for task, name, _ in due)),
                    # The kill that did it stood before the last thing that was begun.
                    time.time() - waited + 2.0,
                )
            )
            # What an operator would do; else nothing more could be seen in this run.
            workers = [one for one in self._stack.family.look() if one.role == Target.WORKER]
            self._log.say("the workers are ended, so that the run can go on")
            end_all(workers)
            self._progress = moment

    def _readyz(self) -> str:
        try:
            url = f"{self._stack.gateway}/readyz"
            return str(httpx.get(url, timeout=5, trust_env=False).status_code)
        except httpx.HTTPError as error:
            return type(error).__name__

    def _do(self, kill: Kill) -> None:
        came = self._wait_for(kill)
        victim = self._find(kill)
        if victim is None and kill.target not in (Target.STEP, Target.RUN):
            # It is just being started again.
            self._work_for(3.0)
            victim = self._find(kill)
        struck = victim is not None and strike(victim, kill.how, kill.held)
        self._log.kill(
            Struck(
                time=time.time(),
                number=kill.number,
                target=kill.target,
                text=str(kill),
                aimed=came,
                victim=f"{victim.pid} {victim.role}" if struck and victim else "",
                tasks=self._seen.tasks(),
            )
        )
        self._load.hold(False)
        if victim is not None and struck:
            self._follow_up(kill)

    def _wait_for(self, kill: Kill) -> bool:
        """Wait for the moment of an aimed kill; False if it does not come."""
        if not kill.aim:
            return True
        aim = AIMS[kill.aim]
        self._load.hold(aim.quiet)
        patience = _IDLE_AIM_SECONDS if aim.quiet else self._options.patience
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self._load.want(aim.needs)
            self._tick()
            # An idle child is seen in the process list alone, which is not cheap to read.
            may_be = kill.aim == "idle" or has_come(kill.aim, self._seen)
            if may_be and self._find(kill) is not None:
                return True
            time.sleep(0.5 if kill.aim == "idle" else _TICK_SECONDS / 2)
        return False

    def _find(self, kill: Kill) -> Found | None:
        found = self._stack.family.look()
        return choose(found, kill.target, kill.pick, self._seen.busy)

    def _follow_up(self, kill: Kill) -> None:
        """What belongs to a kill: its second half, the server's start, a look at the work."""
        if kill.target is Target.IDLE_CHILD:
            self._see_work()
        elif kill.target is Target.BOTH:
            time.sleep(_BETWEEN_SECONDS)
            supervisor = choose(self._stack.family.look(), Target.SUPERVISOR, 0, ())
            if supervisor is not None:
                strike(supervisor, How.KILL, 0)
        elif self._servers is not None and kill.target in SERVERS and kill.how is not How.STOP:
            time.sleep(kill.held)
            self._servers.again(kill.target)

    def _see_work(self) -> None:
        """Wait until workers begin steps, or it is clear that they do not: no kill may hide it."""
        begun, stalls = self._seen.begun, self._stalls
        deadline = time.monotonic() + 2 * self._options.stall
        while time.monotonic() < deadline and stalls == self._stalls:
            self._work_for(1.0)
            if self._seen.begun >= begun + _ENOUGH_STEPS:
                return
