"""What the commands about labels do, at whichever gateway."""

from pathlib import Path
from typing import Any, cast

import click
from rich.text import Text

from actverse.answers import Labeling
from actverse.asking import LabelFormat
from actverse.client import Client
from actverse.task_commands import (
    follow_task,
    leaving,
    print_how_to_follow,
    print_labeling_hint,
    print_posted,
    progress_of,
)
from actverse.terminal import cell, make_console, make_table, print_json, transfer_bar
from actverse.where import Where, find_gateway
from actverse.words import MARKS, imported, plain
from components.errors import Conflict, NotFound, StepFailed


def show_labeling(gateway: str | None, key: str | None, task_id: str, *, as_json: bool) -> None:
    """Print how far a task's labels are, where they are made, and its rounds."""
    where = find_gateway(gateway, key)
    with where.client() as client:
        labeling = client.labeling(task_id)
        if as_json:
            print_json(labeling)
            return
        _print_labeling(where, client, labeling)


def fetch_frames(
    gateway: str | None, key: str | None, task_id: str, folder: Path, *, as_json: bool
) -> None:
    """Download the folder in which a task's frames are labelled.

    Raises:
        Conflict: if they are labelled in a tool.
        NotFound: if there is nothing to label.
    """
    with find_gateway(gateway, key).client() as client, transfer_bar() as progress:
        paths = client.download_folder(_folder(client, task_id), folder, progress=progress)
    if as_json:
        print_json([str(path) for path in paths])
        return
    make_console().print(f"The frames lie in {folder / 'images'}.", markup=False)


def send_labels(
    gateway: str | None, key: str | None, task_id: str, folder: Path, *, as_json: bool
) -> None:
    """Upload label files to the folder in which a task's frames are labelled.

    Args:
        folder: of label files, or one that was fetched.

    Raises:
        Conflict: if they are labelled in a tool.
        NotFound: if there is nothing to label.
    """
    # It brings numpy and more, which is not needed to ask a gateway.
    from components.labeling.formats.yolo import description

    inner = folder / "labels"
    described = description(folder)
    with find_gateway(gateway, key).client() as client:
        with transfer_bar() as progress:
            project = _folder(client, task_id)
            # The names first: numbers alone say nothing.
            if described is not None and described.parent == folder:
                client.upload_file(described, f"{project}/{described.name}")
            labels = inner if inner.is_dir() else folder
            client.upload_folder(labels, f"{project}/labels", progress=progress)
        labeling = client.labeling(task_id)
    if as_json:
        print_json(labeling)
        return
    make_console().print("The labels are sent; the task looks at them within seconds.")


def import_labels(
    gateway: str | None,
    key: str | None,
    task_id: str,
    labels: str,
    format: str | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Bring labels to a task, wait until they are in its project, and print how many came.

    Args:
        watch: follow the task itself then.

    Raises:
        StepFailed: if they could not be used, or the task was followed and did not succeed.
    """
    where = find_gateway(gateway, key)
    with where.client() as client:
        with transfer_bar() as progress:
            form = cast(LabelFormat | None, format)
            bringing = client.import_labels(task_id, labels, form, progress=progress)
        with leaving(where, bringing), make_console(stderr=True).status("The labels are read."):
            status = client.wait(bringing)
        if status["state"] != "succeeded":
            raise StepFailed(plain(status["error"] or f"The import is {status['state']}."))
        facts = next(step["facts"] for step in status["steps"] if step["name"] == "import_labels")
        if as_json:
            print_json({"import_task_id": bringing, **facts})
        else:
            click.echo(plain(imported(facts)))
        if watch:
            follow_task(where, client, task_id, as_json=as_json)


def export_labels(
    gateway: str | None,
    key: str | None,
    task_id: str,
    out: Path,
    format: str,
    *,
    images: bool,
    as_json: bool,
) -> None:
    """Download a task's labels to a .zip or a folder, and print its path."""
    with find_gateway(gateway, key).client() as client, transfer_bar() as progress:
        form = cast(LabelFormat, format)
        path = client.export_labels(task_id, out, form, images=images, progress=progress)
    if as_json:
        print_json({"path": str(path)})
    else:
        click.echo(path)


def begin_round(
    gateway: str | None, key: str | None, task_id: str, options: dict[str, Any], *, watch: bool
) -> None:
    """Begin a further round of a task; print the id of the round's own task.

    Raises:
        StepFailed: if it was followed and did not succeed.
    """
    where = find_gateway(gateway, key)
    with where.client() as client:
        made = client.next_round(task_id, **options)
        if not watch:
            print_posted(where, made)
            return
        click.echo(made)
        follow_task(where, client, made)


def restore_project(gateway: str | None, key: str | None, task_id: str, *, as_json: bool) -> None:
    """Put a lost project up again."""
    where = find_gateway(gateway, key)
    with where.client() as client:
        labeling = client.restore_labeling(task_id)
    if as_json:
        print_json(labeling)
        return
    make_console().print("The frames are put up again, with the labels that had been read.")
    print_how_to_follow(where, task_id)


def train_now(gateway: str | None, key: str | None, task_id: str, *, as_json: bool) -> None:
    """Let a task go on with the labels that are there."""
    where = find_gateway(gateway, key)
    with where.client() as client:
        labeling = client.finish_labeling(task_id)
    if as_json:
        print_json(labeling)
        return
    make_console().print("The task looks at its labels now and goes on as soon as they suffice.")
    print_how_to_follow(where, task_id)


def _folder(client: Client, task_id: str) -> str:
    """The key of the folder in which a task's frames are labelled."""
    labeling = client.labeling(task_id)
    if labeling["tool"] not in ("", "folder"):
        raise Conflict(
            f"The frames of {task_id} are labelled at {plain(labeling['url'])}: label them there, "
            f"or use 'actverse labels import' and 'actverse labels export'."
        )
    if not labeling["project"]:
        if labeling["state"] in ("pending", "running"):
            raise NotFound(f"The frames of {task_id} are not laid out yet: wait for them.")
        raise NotFound(f"The task {task_id} came with its labels: there is nothing to label.")
    return labeling["project"]


def _print_labeling(where: Where, client: Client, labeling: Labeling) -> None:
    console, task_id = make_console(), labeling["task_id"]
    mark, style = MARKS.get(labeling["state"], ("·", "dim"))
    head = Text.assemble((f"{mark} {labeling['state']}", style), f"  {progress_of(labeling)}")
    console.print(head)
    for name, value in (
        ("tool", labeling["tool"]),
        ("where", labeling["url"] or labeling["project"]),
        ("chosen by", labeling["strategy"]),
        ("boxes by", labeling["preannotated_by"]),
        ("note", labeling["note"]),
        ("error", labeling["error"]),
    ):
        if value:
            console.print(Text(f"{name:<10} {plain(value)}", "red" if name == "error" else ""))
    if len(labeling["rounds"]) > 1:
        table = make_table("round", "task", "state", "")
        for one in labeling["rounds"]:
            again = f"labels {one['reopens']} again" if one["reopens"] else ""
            here = "this one" if one["task_id"] == task_id else ""
            table.add_row(
                *(str(one["round"]), cell(one["task_id"])),
                cell(one["state"], MARKS.get(one["state"], ("", ""))[1]),
                cell(", ".join(filter(None, [here, again]))),
            )
        console.print(table)
    if labeling["state"] == "waiting":
        print_labeling_hint(where, client, task_id, make_console(stderr=True), counted=False)
