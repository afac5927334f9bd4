"""The commands of ``actverse labels``; heavy imports wait until one of them is run."""

from pathlib import Path
from typing import Any

import click

from actverse.options import FORMATS, STRATEGIES, as_json, at_gateway, follow


class _Labels(click.Group):
    """Takes ``labels TASK`` for ``labels status TASK``."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not self.commands.keys() & set(args) and any(a.startswith("t-") for a in args):
            args = ["status", *args]
        return super().parse_args(context, args)


@click.group(cls=_Labels)
def labels() -> None:
    """How far a task's labels are; in, out, and again."""


@labels.command("status")
@click.argument("task")
@as_json
@at_gateway
def labels_status(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """Say how far the labels of TASK are, and where."""
    from actverse.label_commands import show_labeling

    show_labeling(gateway, key, task, as_json=as_json)


@labels.command("fetch")
@click.argument("task")
@click.argument("folder", type=click.Path(path_type=Path))
@as_json
@at_gateway
def fetch_frames(
    gateway: str | None, key: str | None, task: str, folder: Path, as_json: bool
) -> None:
    """Download the frames of TASK to FOLDER.

    With what a model found in them, and a README that says how to label them.
    """
    from actverse.label_commands import fetch_frames as run

    run(gateway, key, task, folder, as_json=as_json)


@labels.command("send")
@click.argument("task")
@click.argument("folder", type=click.Path(path_type=Path))
@as_json
@at_gateway
def send_labels(
    gateway: str | None, key: str | None, task: str, folder: Path, as_json: bool
) -> None:
    """Upload the label files of TASK in FOLDER.

    One .txt for each frame, in FOLDER itself or in its labels/.
    """
    from actverse.label_commands import send_labels as run

    run(gateway, key, task, folder, as_json=as_json)


@labels.command("import")
@click.argument("task")
@click.argument("path")
@click.option("--format", type=click.Choice(FORMATS), help="Else told by a look at them.")
@click.option("--watch", is_flag=True, help="Follow TASK to its end then.")
@as_json
@at_gateway
def import_labels(
    gateway: str | None,
    key: str | None,
    task: str,
    path: str,
    format: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Bring labels made elsewhere to TASK.

    PATH is a file, folder or archive, named after the frames of TASK, or key: and a key. Its
    labels take the place of those frames' labels.
    """
    from actverse.label_commands import import_labels as run

    run(gateway, key, task, path, format, watch=watch, as_json=as_json)


@labels.command("export")
@click.argument("task")
@click.option("--format", type=click.Choice(FORMATS), default="yolo", show_default=True)
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A .zip, or a new folder.",
)
@click.option("--images", is_flag=True, help="With the labelled images.")
@as_json
@at_gateway
def export_labels(
    gateway: str | None,
    key: str | None,
    task: str,
    format: str,
    out: Path,
    images: bool,
    as_json: bool,
) -> None:
    """Download the labels of TASK.

    While people label, those that were read last.
    """
    from actverse.label_commands import export_labels as run

    run(gateway, key, task, out, format, images=images, as_json=as_json)


@labels.command("next")
@click.argument("task")
@click.option("--frames", type=int, help="To propose.  [default: as many as before]")
@click.option("--strategy", type=click.Choice(STRATEGIES), help="By which.  [default: active]")
@click.option("--min-seconds-apart", type=float, help="Between two of them.")
@click.option("--epochs", type=int, help="Training epochs.  [default: as before]")
@click.option("--imgsz", type=int, help="Long side of the model's input.  [default: as before]")
@click.option("--batch", type=int, help="Images in a training batch.  [default: as before]")
@follow
@at_gateway
def next_round(
    gateway: str | None, key: str | None, task: str, watch: bool, **options: Any
) -> None:
    """Label more frames of TASK, and train again.

    Those that its model was least sure of. Prints the id of the round, a task of its own,
    which trains on the labels of all rounds.
    """
    from actverse.label_commands import begin_round

    given = {name: value for name, value in options.items() if value is not None}
    training = {name: given.pop(name) for name in ("epochs", "imgsz", "batch") if name in given}
    begin_round(gateway, key, task, {**given, "training": training or None}, watch=watch)


@labels.command("reopen")
@click.argument("task")
@follow
@at_gateway
def reopen(gateway: str | None, key: str | None, task: str, watch: bool) -> None:
    """Label the same frames again, and train again.

    Those of TASK, whose labels are as they were left. Prints the id of the round, a new task.
    """
    from actverse.label_commands import begin_round

    begin_round(gateway, key, task, {"reopen": True}, watch=watch)


@labels.command("restore")
@click.argument("task")
@as_json
@at_gateway
def restore(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """Put a project, or frames of it, up again that its tool has lost.

    With the labels of TASK as they were read last.
    """
    from actverse.label_commands import restore_project

    restore_project(gateway, key, task, as_json=as_json)
