"""Which process is killed, how and when: all of it follows from the seed."""

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum


class Shape(StrEnum):
    """What the stack stands on."""

    EMBEDDED = "embedded"
    CLUSTER = "cluster"


class Target(StrEnum):
    """A process of the stack, by what it does."""

    SUPERVISOR = "supervisor"
    REAPER = "reaper"
    BOTH = "reaper+supervisor"
    GATEWAY = "gateway"
    WORKER = "worker"
    IDLE_CHILD = "idle-child"
    BUSY_CHILD = "busy-child"
    ERRANDS = "errands"
    BEAT = "beat"
    WATCHER = "watcher"
    RUN = "run"
    STEP = "step"
    MLFLOW = "mlflow"
    TRITON = "triton"
    STUB = "stub"
    RABBITMQ = "rabbitmq"
    POSTGRES = "postgres"
    REDIS = "redis"


class How(StrEnum):
    """What is sent to it."""

    KILL = "kill"
    TERM = "term"
    STOP = "stop"


SERVERS = (Target.RABBITMQ, Target.POSTGRES, Target.REDIS)
# What has a part in sending notifications; after its end some may be sent again.
SENDERS = (*SERVERS, Target.ERRANDS, Target.SUPERVISOR, Target.BOTH)


@dataclass(frozen=True)
class Aim:
    """A moment that is waited for.

    Attributes:
        moment: what it is, in words.
        targets: which processes are worth killing then.
        needs: the kind of task that brings it about.
        quiet: no new tasks are begun until it has come.
    """

    moment: str
    targets: tuple[Target, ...]
    needs: str = ""
    quiet: bool = False


AIMS = {
    "analysing": Aim(
        "an analysis is between 20 and 90 %",
        (Target.TRITON, Target.STUB, Target.BUSY_CHILD, Target.WORKER),
        "infer",
    ),
    "forked": Aim("results are written side by side", (Target.BUSY_CHILD, Target.WORKER), "infer"),
    "fetching": Aim(
        "a video is fetched, checked or its frames extracted", (Target.BUSY_CHILD,), "extract"
    ),
    "between": Aim(
        "a task has ended one step and not begun the next",
        (Target.WORKER, Target.ERRANDS, Target.BEAT, Target.SUPERVISOR),
        "extract",
    ),
    "idle": Aim(
        "a worker's child waits for work", (Target.IDLE_CHILD, Target.IDLE_CHILD), quiet=True
    ),
    "telling": Aim("a notification is being sent", (Target.ERRANDS,), "download"),
    "training": Aim(
        "a training runs", (Target.WATCHER, Target.RUN, Target.STEP, Target.MLFLOW), "loop"
    ),
    "exporting": Aim("a trained model is exported", (Target.STEP, Target.MLFLOW), "loop"),
    "exported": Aim(
        "export has succeeded and register has not begun", (Target.MLFLOW, Target.MLFLOW), "loop"
    ),
    "gated": Aim(
        "register has succeeded and deploy has not begun", (Target.MLFLOW, Target.TRITON), "loop"
    ),
    "deploying": Aim(
        "a version is deployed", (Target.TRITON, Target.MLFLOW, Target.WATCHER), "loop"
    ),
}

_AT_RANDOM = tuple(target for target in Target if target not in SERVERS)
_OF_TRAININGS = (Target.RUN, Target.STEP)
# A service that dies more than five times in two minutes is given up, rightly so.
_APART = 2
_PAUSE_SECONDS, _HELD_SECONDS = (1.0, 12.0), (2.0, 15.0)


@dataclass(frozen=True)
class Kill:
    """One kill of a plan.

    Attributes:
        number: from 1.
        aim: a name of ``AIMS``; empty for a moment at random.
        pause: seconds after the kill before it.
        held: seconds for which a stopped process stands, or a killed server is away.
        pick: 0 to 1: which one where there are several.
    """

    number: int
    target: Target
    how: How
    aim: str
    pause: float
    held: float
    pick: float

    def __str__(self) -> str:
        when = f"while {AIMS[self.aim].moment}" if self.aim else "at a random moment"
        return f"{self.number:>3}  {self.how:<4} {self.target:<18} {when}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def make_plan(
    seed: int,
    kills: int,
    shape: Shape,
    *,
    trainings: bool = True,
    only: Collection[str] = (),
) -> list[Kill]:
    """The kills of a seed: every second one is aimed; the same for the same arguments.

    Args:
        trainings: whether there are any; without them nothing of theirs is killed.
        only: names of ``AIMS``: then every kill is at one of these moments.
    """
    rng = random.Random(f"{seed} {shape}")
    targets = [*_AT_RANDOM, *(SERVERS if shape is Shape.CLUSTER else ())]
    aims = AIMS
    if not trainings:
        targets = [target for target in targets if target not in _OF_TRAININGS]
        aims = {name: aim for name, aim in AIMS.items() if aim.needs != "loop"}
    if only:
        aims = {name: aim for name, aim in AIMS.items() if name in only}
    decks = {
        True: _Deck(rng, [(name, one) for name, aim in aims.items() for one in aim.targets]),
        False: _Deck(rng, [("", target) for target in targets]),
    }
    plan: list[Kill] = []
    for number in range(1, kills + 1):
        # Few processes are for few moments: then one may come twice in a row.
        recent = set() if only else {kill.target for kill in plan[-_APART:]}
        aim, target = decks[bool(only) or number % 2 == 1].draw(recent)
        plan.append(
            Kill(
                number=number,
                target=target,
                how=_how(rng, target, aim),
                aim=aim,
                pause=round(rng.uniform(*_PAUSE_SECONDS), 1),
                held=round(rng.uniform(*_HELD_SECONDS), 1),
                pick=round(rng.random(), 3),
            )
        )
    return plan


class _Deck:
    """Moments with their processes, in random order: each comes once before any comes again."""

    def __init__(self, rng: random.Random, cards: list[tuple[str, Target]]) -> None:
        self._rng, self._cards = rng, cards
        self._left: list[tuple[str, Target]] = []

    def draw(self, recent: set[Target]) -> tuple[str, Target]:
        """The next one of which the process was not among the recent."""
        while True:
            for card in self._left:
                if card[1] not in recent:
                    self._left.remove(card)
                    return card
            self._left += self._shuffled()

    def _shuffled(self) -> list[tuple[str, Target]]:
        cards = self._rng.sample(self._cards, len(self._cards))
        # Each moment comes before any comes twice.
        seen: Counter[str] = Counter()
        ranked = []
        for place, (aim, target) in enumerate(cards):
            ranked.append((seen[aim] if aim else 0, place, aim, target))
            seen[aim] += 1
        return [(aim, target) for _, _, aim, target in sorted(ranked)]


def _how(rng: random.Random, target: Target, aim: str) -> How:
    # An aimed moment is over before a process that was told to end has done so.
    weights = (9, 1, 0) if aim else (7, 2, 2)
    (how,) = rng.choices(list(How), weights)
    # The reaper takes no SIGTERM, PostgreSQL waits for its clients, both by intent.
    if how is How.TERM and target in (Target.REAPER, Target.BOTH, Target.POSTGRES):
        return How.KILL
    return How.KILL if target is Target.BOTH else how
