"""Follows a pipeline's run in the terminal: a live table where there is one, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actverse.terminal import cell, make_table
from actverse.words import plain
from components.errors import TooManyRequests, Unavailable
from pipelines.backend import PipelineBackend, RunState, RunStatus, TaskStatus

_PATIENCE_SECONDS = 300.0
_MARKS = {
    RunState.SUCCEEDED: ("✓", "green"),
    RunState.CACHED: ("✓", "green"),
    RunState.FAILED: ("✗", "red"),
    RunState.CANCELED: ("✗", "yellow"),
    RunState.CANCELING: ("…", "yellow"),
    RunState.PAUSED: ("…", "yellow"),
    RunState.RUNNING: ("›", "cyan"),
}
# Of a step that a loop runs many times, what matters most.
_TOLD_FIRST = (RunState.FAILED, RunState.RUNNING, RunState.PENDING, RunState.CANCELED)


def followed(
    backend: PipelineBackend,
    run_id: str,
    poll: float,
    told: Callable[[str], None],
    *,
    patience: float = _PATIENCE_SECONDS,
) -> Iterator[RunStatus]:
    """A run's status, again and again, until it has ended.

    Args:
        poll: seconds between two looks.
        told: hears in a sentence that the place that runs it is away or back.
        patience: seconds for which one that is away is waited for.

    Raises:
        NotFound: if there is no such run (any more).
        Unavailable: if it stays away.
    """
    away: float | None = None
    while True:
        try:
            status = backend.status(run_id)
        except (Unavailable, TooManyRequests) as error:
            if away is None:
                away = time.monotonic()
                told(f"{error} It is waited for.")
            if time.monotonic() - away > patience:
                raise
        else:
            if away is not None:
                away = None
                told("It answers again.")
            yield status
            if status.state.ended:
                return
        time.sleep(poll)


@contextmanager
def run_view(console: Console) -> Iterator[Callable[[RunStatus], None]]:
    """Shows each status that it is given."""
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda status: live.update(run_table(status), refresh=True)
        return
    known: set[tuple[str, int, RunState]] = set()

    def show(status: RunStatus) -> None:
        for place, task in enumerate(status.tasks):
            seen = (task.name, place, task.state)
            if task.state != RunState.PENDING and seen not in known:
                known.add(seen)
                mark, style = _mark(task.state)
                took = _took(task.started, task.ended) if task.state.ended else ""
                line = f" {plain(task.display_name):<22} {took:>9}  {_what(task)}".rstrip()
                console.print(Text.assemble((mark, style), line))
        if status.state.ended:
            console.print(run_head(status))

    yield show


def run_head(status: RunStatus) -> Text:
    """A run in one line."""
    mark, style = _mark(status.state)
    parts = [status.name, status.state.lower(), _took(status.created, status.ended)]
    return Text.assemble((f"{mark} ", style), ("  ".join(plain(p) for p in parts if p), "bold"))


def run_table(status: RunStatus) -> Group:
    """A run and its tasks."""
    table = make_table("step", "", "time", "what")
    table.columns[2].justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    turns: dict[str, list[TaskStatus]] = {}
    for task in status.tasks:
        turns.setdefault(task.name, []).append(task)
    for tasks in turns.values():
        state = next((s for s in _TOLD_FIRST if s in {t.state for t in tasks}), tasks[0].state)
        mark, style = _mark(state)
        over = all(task.state.ended for task in tasks)
        started = min((t.started for t in tasks if t.started), default=None)
        ended = max((t.ended for t in tasks if t.ended), default=None) if over else None
        row = (_took(started, ended), cell(_what_of(tasks)))
        table.add_row(cell(tasks[0].display_name), Text(mark, style), *row)
    parts: list[Text | Table] = [run_head(status)]
    if status.url:
        parts.append(Text(plain(status.url), "dim"))
    if status.tasks:
        parts.append(table)
    if status.error and not any(task.error for task in status.tasks):
        parts.append(Text(plain(status.error), "red"))
    return Group(*parts)


def runs_table(runs: list[RunStatus]) -> Table:
    """Runs, one a row."""
    table = make_table("run", "pipeline", "state", "began", "time", "id")
    for column in table.columns:
        column.no_wrap = True
    for run in runs:
        _, style = _mark(run.state)
        began = run.created.astimezone().strftime("%Y-%m-%d %H:%M") if run.created else ""
        table.add_row(
            *(cell(run.name), cell(run.pipeline), cell(run.state.lower(), style)),
            *(began, _took(run.created, run.ended), cell(run.run_id)),
        )
    return table


def _mark(state: RunState) -> tuple[str, str]:
    return _MARKS.get(state, ("·", "dim"))


def _what(task: TaskStatus) -> str:
    if task.error:
        return plain(task.error)
    return "" if task.state in (RunState.SUCCEEDED, RunState.RUNNING) else task.state.lower()


def _what_of(tasks: list[TaskStatus]) -> str:
    """What a step does or is, of one that a loop runs many times how far it is."""
    if len(tasks) == 1:
        return _what(tasks[0])
    done = sum(task.state in (RunState.SUCCEEDED, RunState.CACHED) for task in tasks)
    errors = [task.error for task in tasks if task.error]
    told = f"{done} of {len(tasks)}"
    return plain(f"{told}, {len(errors)} failed: {errors[0]}") if errors else told


def _took(started: datetime | None, ended: datetime | None) -> str:
    if started is None:
        return ""
    seconds = ((ended or datetime.now(UTC)) - started).total_seconds()
    if seconds < 100:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
