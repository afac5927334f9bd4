"""Follows a task in the terminal until its end: bars where there is one, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from actverse.answers import Status, Step
from actverse.client import Client
from actverse.following import ENDED
from actverse.words import MARKS, amount, left, plain, seconds, what

_NAME = 11
# Where there are no bars, a step that takes long is told of at most so often.
_QUARTER, _LINE_SECONDS = 25.0, 5.0


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: ``succeeded``, ``failed`` or ``cancelled``.
        error: the failed step's sentence.
        steps: the steps as ``GET /status`` tells them.
    """

    state: str
    error: str
    steps: list[Step]

    def facts(self, step: str) -> dict[str, Any]:
        """What a step said of itself; empty if it did not run."""
        return next((dict(s["facts"]) for s in self.steps if s["name"] == step), {})

    def print_table(self, console: Console) -> None:
        """One row a step: what it did and how long it took."""
        print_steps(self.steps, console)


def print_steps(steps: list[Step], console: Console) -> None:
    """One row a step: its state, how long it took, and what it did or does."""
    table = Table("step", "", "seconds", "what", box=None, header_style="bold", pad_edge=False)
    table.columns[2].justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    for step in steps:
        sign, style = MARKS.get(step["state"], ("·", "dim"))
        told = what(step)
        if step["state"] == "running":
            percent = "" if told else f"{step['percent']:.0f} %"
            told = "  ".join(filter(None, [percent, told, left(step["remaining_seconds"])]))
        table.add_row(step["name"], Text(sign, style), seconds(step), Text(told))
    console.print(table)


def watch_task(
    client: Client,
    task_id: str,
    console: Console,
    *,
    waits: Callable[[], None] = lambda: None,
) -> Outcome:
    """Show a task's steps as they go on; return when it has ended.

    Args:
        waits: called once, when the task begins to wait for people to label.

    Raises:
        NotFound: if there is no such task.
        Unavailable: if the gateway stays away.
    """
    hinted = False
    terminal = console.is_terminal and not console.is_dumb_terminal
    view: _View
    with _bars(console) if terminal else _lines(console) as view:
        status: Status | None = None
        for message in client.watch(task_id, told=view.say):
            status = message.status
            if status is None:
                continue
            view.show(status)
            if status["state"] == "waiting" and not hinted:
                hinted = True
                waits()
        if status is None or status["state"] not in ENDED:
            status = client.status(task_id)
            view.show(status)
    return Outcome(status["state"], status["error"], status["steps"])


class _View(Protocol):
    def say(self, sentence: str) -> None: ...

    def show(self, status: Status) -> None: ...


class _Endings:
    """Prints each step once, when it has ended, or when something is wrong with it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._told: set[tuple[str, str, int, str]] = set()

    def say(self, sentence: str) -> None:
        self.console.print(Text(plain(sentence), "yellow"))

    def tell(self, step: Step) -> None:
        # One that waits with an error waits for somebody to mend what is wrong.
        faulty = step["state"] in ("pending", "waiting") and bool(step["error"])
        ended = step["state"] in ("succeeded", "failed")
        key = (step["name"], step["state"], step["attempt"], step["error"])
        if not (ended or faulty) or key in self._told:
            return
        self._told.add(key)
        sign, style = MARKS["failed" if faulty else step["state"]]
        took = f"{seconds(step)} s" if seconds(step) else ""
        line = Text.assemble((sign, style), f" {step['name']:<{_NAME}} {took:>9}  {what(step)}")
        self.console.print(line)


class _Lines(_Endings):
    """For files and pipes: a line when a step begins, now and then, and at its end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._shown: dict[str, tuple[float, object]] = {}

    def show(self, status: Status) -> None:
        for step in status["steps"]:
            self.tell(step)
            if step["state"] == "waiting" and not step["error"]:
                self._line(step, ("waiting", step["done"]), 0.0)
            elif step["state"] == "running":
                self._line(step, step["percent"] // _QUARTER, _LINE_SECONDS)

    def _line(self, step: Step, mark: object, pause: float) -> None:
        now = time.monotonic()
        before = self._shown.get(step["name"])
        if before is not None and (before[1] == mark or now - before[0] < pause):
            return
        self._shown[step["name"]] = (now, mark)
        sign, _ = MARKS[step["state"]]
        told = [what(step), left(step["remaining_seconds"])]
        self.console.print(
            Text(f"{sign} {step['name']:<{_NAME}} {'  '.join(filter(None, told))}".rstrip())
        )


class _Bars(_Endings):
    """For a terminal: a bar for each step that runs, and one for all."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self._progress = progress
        self._all = progress.add_task("all", total=100, style="bold", told="", rest="")
        self._bars: dict[str, TaskID] = {}

    def show(self, status: Status) -> None:
        for step in status["steps"]:
            self.tell(step)
            name = step["name"]
            if step["state"] in ("running", "waiting"):
                told = amount(step["done"], step["total"], step["unit"])
                if name == "train":
                    told = what(step)
                if step["state"] == "waiting":
                    told = f"waits: {told}"
                if name not in self._bars:
                    self._bars[name] = self._progress.add_task(
                        name, style="", told="", rest="", total=None
                    )
                self._progress.update(
                    self._bars[name],
                    # Nobody knows how far it is: it is shown to be alive.
                    total=100 if step["percent"] or step["total"] else None,
                    completed=step["percent"],
                    told=told,
                    rest=left(step["remaining_seconds"]),
                )
            elif name in self._bars:
                self._progress.remove_task(self._bars.pop(name))
        self._progress.update(
            self._all, completed=status["percent"], rest=left(status["remaining_seconds"])
        )


@contextmanager
def _lines(console: Console) -> Iterator[_Lines]:
    yield _Lines(console)


@contextmanager
def _bars(console: Console) -> Iterator[_Bars]:
    progress = Progress(
        TextColumn(f"{{task.description:<{_NAME}}}", style="bold", markup=False),
        BarColumn(bar_width=18),
        TextColumn("{task.percentage:>5.1f} %", markup=False),
        TextColumn(
            "{task.fields[told]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        TextColumn("{task.fields[rest]}", style="dim", markup=False),
        console=console,
        transient=True,
        expand=True,
    )
    with progress:
        yield _Bars(console, progress)
