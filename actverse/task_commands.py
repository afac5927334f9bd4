"""What the commands about tasks do, at whichever gateway."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from actverse.answers import Labeling, Status
from actverse.client import Client
from actverse.following import ENDED
from actverse.terminal import (
    cell,
    make_console,
    make_table,
    print_json,
    print_line,
    stopped_by_signal,
    transfer_bar,
)
from actverse.watch import Outcome, print_steps, watch_task
from actverse.where import Where, find_gateway
from actverse.words import MARKS, left, moment, plain, size
from components.errors import NotFound, StepFailed


def list_tasks(
    gateway: str | None, key: str | None, states: tuple[str, ...], limit: int, *, as_json: bool
) -> None:
    """Print the newest tasks; with a ``limit`` of 0 all of them."""
    import itertools

    with find_gateway(gateway, key).client() as client:
        found = list(itertools.islice(client.tasks(*states), limit + 1 if limit else None))
    tasks = found[:limit] if limit else found
    if as_json:
        print_json(tasks)
        return
    if not tasks:
        make_console(stderr=True).print("There are no tasks.")
        return
    table = make_table("task", "kind", "state", "%", "created", "user", "error")
    table.columns[3].justify = "right"
    for column in table.columns:
        column.no_wrap = True
    console = make_console()
    if console.is_terminal:
        # What does not fit is the error, which "status" tells whole.
        table.expand, table.columns[-1].ratio = True, 1
    for task in tasks:
        table.add_row(
            *(cell(task["task_id"]), cell(task["kind"])),
            cell(task["state"], MARKS.get(task["state"], ("", ""))[1]),
            f"{task['percent']:.0f}",
            *(moment(task["created"]), cell(task["user_id"]), cell(task["error"])),
        )
    console.print(table)
    if len(found) > len(tasks):
        make_console(stderr=True).print("There are more: actverse tasks --all")


def show_status(
    gateway: str | None, key: str | None, task_id: str, *, watch: bool, as_json: bool
) -> None:
    """Print where a task stands, or follow it to its end.

    Raises:
        StepFailed: if it was followed and did not succeed.
    """
    where = find_gateway(gateway, key)
    with where.client() as client:
        if watch:
            follow_task(where, client, task_id, as_json=as_json)
            return
        status = client.status(task_id)
        if as_json:
            print_json(status)
            return
        _print_status(status)
        if status["state"] == "waiting":
            print_labeling_hint(where, client, task_id, make_console(stderr=True))


def follow_task(
    where: Where, client: Client, task_id: str, *, as_json: bool = False, then: str = ""
) -> None:
    """Follow a task to its end; Ctrl-C ends the following only.

    Args:
        then: the command that shows what came of it; by default that of its results.

    Raises:
        StepFailed: if it did not succeed.
    """
    with leaving(where, task_id):
        if as_json:
            outcome = _follow_as_json(client, task_id)
        else:
            outcome = watch_task(
                client,
                task_id,
                console := make_console(),
                waits=lambda: print_labeling_hint(where, client, task_id, console),
            )
    check_outcome(task_id, outcome)
    if not as_json:
        make_console(stderr=True).print(f"actverse {then or f'results {task_id}'}{where.options}")


def check_outcome(task_id: str, outcome: Outcome) -> None:
    """Raise StepFailed unless the task has succeeded."""
    if outcome.state == "cancelled":
        raise StepFailed(f"The task {task_id} was cancelled.")
    if outcome.state != "succeeded":
        raise StepFailed(plain(outcome.error))


def print_labeling_hint(
    where: Where, client: Client, task_id: str, console: Console, *, counted: bool = True
) -> None:
    """Say where people are to label a task's frames.

    Args:
        counted: say how many are labelled, too.
    """
    try:
        labeling = client.labeling(task_id)
    except NotFound:
        return
    if not labeling["project"]:
        return
    if counted:
        console.print(progress_of(labeling), style="yellow")
    if labeling["tool"] != "folder":
        console.print(f"Label them at {plain(labeling['url'])}", markup=False)
        if login := where.label_studio_login(labeling["url"]):
            console.print(login, markup=False)
        return
    folder = where.own_folder(client.status(task_id)["user_id"], labeling["project"])
    if folder is not None:
        console.print(f"They are in {folder}: README.txt there says what to do.", markup=False)
        return
    console.print(
        f"  actverse labels fetch {task_id} FOLDER{where.options}\n"
        f"  actverse labels send {task_id} FOLDER{where.options}\n"
        "fetch them with what a model found, and send the labels.",
        markup=False,
    )


def progress_of(labeling: Labeling) -> str:
    """How many of a task's frames people have labelled."""
    skipped = f", {labeling['skipped']} skipped" if labeling["skipped"] else ""
    return f"{labeling['labelled']} of {labeling['total']} frames are labelled{skipped}."


def show_results(
    gateway: str | None, key: str | None, task_id: str, folder: Path | None, *, as_json: bool
) -> None:
    """Print a task's result files, or download them.

    Raises:
        NotFound: if there are none yet.
    """
    with find_gateway(gateway, key).client() as client:
        results = client.results(task_id)
        if folder is not None:
            with transfer_bar() as progress:
                paths = client.download_results(task_id, folder, progress=progress)
            if as_json:
                print_json([str(path) for path in paths])
            else:
                for path in paths:
                    click.echo(path)
        elif as_json:
            print_json(results)
        else:
            table = make_table("file", "size", "written")
            table.columns[1].justify = "right"
            for file in results["files"]:
                table.add_row(cell(file["path"]), size(file["bytes"]), moment(file["modified"]))
            make_console().print(table)
    if not results["complete"]:
        make_console(stderr=True).print("The task has not written all of them yet.")


def cancel_task(gateway: str | None, key: str | None, task_id: str, *, as_json: bool) -> None:
    """End a task and print what is kept of it."""
    with find_gateway(gateway, key).client() as client:
        ended = client.cancel(task_id)
    if as_json:
        print_json(ended)
        return
    say = make_console().print
    if ended["cancelled_steps"]:
        say(
            f"The task {ended['task_id']} is cancelled; it had come through "
            f"{len(ended['finished_steps'])} of its steps.",
            markup=False,
        )
    else:
        say(f"The task {ended['task_id']} had ended before: {ended['state']}.", markup=False)
    for kept in ended["kept"]:
        say(Text(f"kept  {plain(kept['folder'])}  {kept['files']} files, {size(kept['bytes'])}"))


def submit_task(
    gateway: str | None, key: str | None, video: str, labels: str | None, options: dict[str, Any]
) -> None:
    """Post a task; print its id on stdout, alone."""
    where = find_gateway(gateway, key)
    with where.client() as client, transfer_bar() as progress:
        task_id = client.create_task(video, labels, progress=progress, **options)
    print_posted(where, task_id)


def infer_video(
    gateway: str | None,
    key: str | None,
    task_id: str,
    video: str,
    options: dict[str, Any],
    *,
    watch: bool,
) -> None:
    """Have a video analysed by a task's model; print the id of the analysis's task.

    Raises:
        StepFailed: if it was followed and did not succeed.
    """
    where = find_gateway(gateway, key)
    with where.client() as client:
        with transfer_bar() as progress:
            analysis = client.infer(task_id, video, progress=progress, **options)
        if not watch:
            print_posted(where, analysis)
            return
        click.echo(analysis)
        follow_task(where, client, analysis)


def _print_status(status: Status) -> None:
    console = make_console()
    told = [
        *(status["task_id"], status["kind"], status["state"], f"{status['percent']:.0f} %"),
        left(status["remaining_seconds"]),
        f"created {moment(status['created'])}",
    ]
    console.print(Text("  ".join(plain(part) for part in told if part), "bold"))
    print_steps(status["steps"], console)
    # A gateway of before the runs tells of none.
    if run := status.get("pipeline_run"):
        told = [f"run {run['run_id']}", run["state"].lower(), run["url"], run["note"]]
        console.print(Text("  ".join(plain(part) for part in told if part)), soft_wrap=True)


def _follow_as_json(client: Client, task_id: str) -> Outcome:
    status: Status | None = None
    say = make_console(stderr=True).print
    for message in client.watch(task_id, told=lambda sentence: say(sentence, markup=False)):
        print_line({"event": message.name, "id": message.id, "data": message.data})
        status = message.status or status
    if status is None or status["state"] not in ENDED:
        status = client.status(task_id)
    return Outcome(status["state"], status["error"], status["steps"])


def print_posted(where: Where, task_id: str) -> None:
    """Print a new task's id on stdout, alone, and beside it how it is followed."""
    click.echo(task_id)
    print_how_to_follow(where, task_id)


def print_how_to_follow(where: Where, task_id: str) -> None:
    """Print the command that follows a task, on stderr."""
    make_console(stderr=True).print(
        f"actverse status {task_id} --watch{where.options}", style="dim"
    )


@contextlib.contextmanager
def leaving(where: Where, task_id: str) -> Iterator[None]:
    """Ctrl-C ends the following of a task, not the task, and says so."""
    try:
        with stopped_by_signal():
            yield
    except KeyboardInterrupt:
        make_console(stderr=True).print(
            f"The task goes on: actverse status {task_id} --watch{where.options}", markup=False
        )
        raise
