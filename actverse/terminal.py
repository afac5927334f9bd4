"""What the commands print: for people on stdout and stderr, for programs as JSON."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from actverse.words import plain
from components import steps

_WIDE = 1000


def make_console(*, stderr: bool = False) -> Console:
    """A console that cuts nothing off where no terminal is."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(highlight=False, soft_wrap=True, stderr=stderr, width=width)


def print_json(content: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_line(content: Any) -> None:
    """One line of JSON on stdout, at once."""
    click.echo(json.dumps(content, ensure_ascii=False))


def make_table(*columns: str) -> Table:
    """A table with headings and no frame."""
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def cell(content: object, style: str = "") -> Text:
    """A cell of a table, of words that somebody else may have written."""
    return Text(plain(content), style)


@contextlib.contextmanager
def transfer_bar() -> Iterator[steps.Progress]:
    """Shows bytes on their way, on stderr; nothing where no terminal is."""
    console = make_console(stderr=True)
    bars = Progress(
        TextColumn("{task.description:<11}", style="bold", markup=False),
        BarColumn(bar_width=18),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    known: dict[str, Any] = {}

    def progress(done: float, total: float, **facts: Any) -> None:
        what = str(facts.get("what", "files"))
        if what not in known:
            known[what] = bars.add_task(what, total=total)
        bars.update(known[what], completed=done, total=total)

    with bars:
        yield progress


@contextlib.contextmanager
def stopped_by_signal() -> Iterator[None]:
    """SIGTERM and SIGINT end the block as Ctrl-C does, so that it can put things in order.

    SIGINT too, since a shell lets its background jobs ignore it.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
