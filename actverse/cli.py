"""The command line. Heavy imports wait until a command needs them: help answers at once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from actverse import __version__, role_cli
from actverse.pipeline_cli import pipeline

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FORMATS = ("yolo", "coco", "deeplabcut", "label-studio", "cvat", "sleap")
_STRATEGIES = ("uniform", "diverse", "motion", "uncertain", "active")
_STATES = ("queued", "running", "waiting", "succeeded", "failed", "cancelled")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Raw video in, a served custom YOLO model and its analysis out.

    Settings come from the environment as ACTVERSE_*; ACTVERSE_HOME is where everything
    lies (default: .actverse in this folder).

    Commands about tasks talk to the gateway of the stack that runs there, or to another one:
    --gateway or ACTVERSE_GATEWAY_URI says which, ACTVERSE_API_KEY or ACTVERSE_API_KEY_FILE (a
    file that holds it) with which key.
    """


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_at_gateway = _options(
    click.option("--gateway", metavar="URL", envvar="ACTVERSE_GATEWAY_URI", help="Another one's."),
    click.option(
        "--key",
        metavar="KEY",
        envvar="ACTVERSE_API_KEY",
        help="An API key; better in ACTVERSE_API_KEY, since process lists show options.",
    ),
)
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_asking = _options(
    click.option(
        "--task", type=click.Choice(["detect", "pose"]), default="detect", show_default=True
    ),
    click.option("--names", default="", help="Class names, comma-separated; else the labels' own."),
    click.option("--keypoints", default="", help="Key point names, comma-separated (pose)."),
    click.option("--flip-idx", default="", help="Each key point's mirror image, comma-separated."),
    click.option("--model-name", default=None, help="The registered model.  [default: USER-TASK]"),
    click.option("--frames", "num_frames", type=int, help="To extract where no labels are given."),
    click.option(
        "--strategy",
        type=click.Choice(_STRATEGIES),
        help="By which these are chosen.  [default: active with a global model, else uniform]",
    ),
    click.option("--min-seconds-apart", type=float, help="Between two of them."),
    click.option(
        "--labeling-tool",
        type=click.Choice(["folder", "label-studio"]),
        help="Where people label.  [default: Label Studio where one is set]",
    ),
    click.option("--epochs", type=int, help="Training epochs."),
    click.option("--imgsz", type=int, help="Long side of the model's input, pixels."),
    click.option("--batch", type=int, help="Images in a training batch."),
    click.option("--model", type=str, help="Architecture, such as yolo11n."),
    click.option(
        "--weights", default="", help="A .pt file, or a published name such as yolo11n.pt."
    ),
    click.option("--seed", type=int, help="Of the choice of frames and of the training."),
    click.option("--held-out", type=float, help="Share of the labels for judging.  [default: 0.2]"),
    click.option("--confidence", type=float, help="Of what is found.  [default: 0.25]"),
    click.option("--iou", type=float, help="Of what counts as one.  [default: 0.7]"),
)
_labels = _options(
    click.option(
        "--labels",
        metavar="PLACE",
        help="A folder, file or archive of labels, with their images or named after the "
        "extracted frames. Without them the frames are laid out, and the task waits for people "
        "to label them.",
    ),
    click.option(
        "--label-format",
        "labels_format",
        type=click.Choice(_FORMATS),
        help="Of the labels; else told by a look at them.",
    ),
)


_label_studio = click.option(
    "--label-studio",
    is_flag=True,
    help="Label in Label Studio, started along; the first time it is installed.",
)


@cli.command()
@_label_studio
def up(label_studio: bool) -> None:
    """Start the stack and keep it running until Ctrl-C."""
    from actverse.commands import keep_up

    keep_up(label_studio=label_studio)


@cli.command()
@click.argument("video")
@_labels
@_asking
@click.option("--keep", is_flag=True, help="Leave the stack running until Ctrl-C.")
@_label_studio
@_at_gateway
def run(video: str, labels: str | None, **options: Any) -> None:
    """Take VIDEO to a served model and its analysis.

    VIDEO is a file, a URL, or key: and the key of a file of yours at the gateway. Uses the
    stack that runs here, or starts one for as long as it takes.
    """
    from actverse.commands import run_video

    places = {name: options.pop(name) for name in ("gateway", "key", "keep", "label_studio")}
    run_video(video, labels, **places, **_request(**options))


@cli.command()
@click.argument("video")
@_labels
@_asking
@_at_gateway
def submit(
    video: str, labels: str | None, gateway: str | None, key: str | None, **options: Any
) -> None:
    """Post VIDEO as a task and print its id.

    VIDEO is a file, a URL, or key: and the key of a file of yours at the gateway.
    """
    from actverse.task_commands import submit_task

    submit_task(gateway, key, video, labels, _request(**options))


@cli.command()
@click.option("--keep", is_flag=True, help="Leave the stack running until Ctrl-C.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the clip and the training."
)
def demo(keep: bool, seed: int) -> None:
    """Make a sample clip and take it through the whole loop."""
    from actverse.demo import run_demo

    run_demo(keep=keep, seed=seed)


@cli.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the frames."
)
@click.option("--number", default=120, show_default=True, help="How many at most.")
@click.option(
    "--strategy",
    # The others need what a model has found.
    type=click.Choice(["uniform", "diverse", "motion"]),
    default="uniform",
    show_default=True,
    help="Evenly spread, unlike one another, or where much changes.",
)
@click.option("--min-seconds-apart", type=float, help="Between two of them.")
@click.option("--seed", type=int, default=0, help="Decides between frames equally good.")
def extract(video: Path, out: Path, **options: Any) -> None:
    """Extract frames of VIDEO to label.

    Their names tell `run --labels` where they belong.
    """
    from actverse.commands import extract_to

    extract_to(video, out, **options)


@cli.command()
@click.option("--state", multiple=True, type=click.Choice(_STATES), help="Only these; repeatable.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="The newest.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@_as_json
@_at_gateway
def tasks(
    gateway: str | None,
    key: str | None,
    state: tuple[str, ...],
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """List tasks, the newest first."""
    from actverse.task_commands import list_tasks

    list_tasks(gateway, key, state, 0 if everything else limit, as_json=as_json)


@cli.command()
@click.argument("task")
@click.option("--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running.")
@_as_json
@_at_gateway
def status(gateway: str | None, key: str | None, task: str, watch: bool, as_json: bool) -> None:
    """Say where TASK stands, or follow it.

    With --watch it ends with 1 if the task does not succeed.
    """
    from actverse.task_commands import show_status

    show_status(gateway, key, task, watch=watch, as_json=as_json)


@cli.command()
@click.argument("task")
@click.option(
    "--download",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Fetch them; what is there already is not fetched again.",
)
@_as_json
@_at_gateway
def results(
    gateway: str | None, key: str | None, task: str, download: Path | None, as_json: bool
) -> None:
    """List the result files of TASK."""
    from actverse.task_commands import show_results

    show_results(gateway, key, task, download, as_json=as_json)


@cli.command()
@click.argument("task")
@_as_json
@_at_gateway
def cancel(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """End TASK; what it has brought is kept."""
    from actverse.task_commands import cancel_task

    cancel_task(gateway, key, task, as_json=as_json)


class _Labels(click.Group):
    """Takes ``labels TASK`` for ``labels status TASK``."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not self.commands.keys() & set(args) and any(a.startswith("t-") for a in args):
            args = ["status", *args]
        return super().parse_args(context, args)


@cli.group(cls=_Labels)
def labels() -> None:
    """How far a task's labels are; in, out, and again."""


@labels.command("status")
@click.argument("task")
@_as_json
@_at_gateway
def labels_status(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """Say how far the labels of TASK are, and where."""
    from actverse.label_commands import show_labeling

    show_labeling(gateway, key, task, as_json=as_json)


@labels.command("fetch")
@click.argument("task")
@click.argument("folder", type=click.Path(path_type=Path))
@_as_json
@_at_gateway
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
@_as_json
@_at_gateway
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
@click.option("--format", type=click.Choice(_FORMATS), help="Else told by a look at them.")
@click.option("--watch", is_flag=True, help="Follow TASK to its end then.")
@_as_json
@_at_gateway
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
@click.option("--format", type=click.Choice(_FORMATS), default="yolo", show_default=True)
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A .zip, or a new folder.",
)
@click.option("--images", is_flag=True, help="With the labelled images.")
@_as_json
@_at_gateway
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
@click.option("--strategy", type=click.Choice(_STRATEGIES), help="By which.  [default: active]")
@click.option("--min-seconds-apart", type=float, help="Between two of them.")
@click.option("--epochs", type=int, help="Training epochs.  [default: as before]")
@click.option("--imgsz", type=int, help="Long side of the model's input.  [default: as before]")
@click.option("--batch", type=int, help="Images in a training batch.  [default: as before]")
@click.option("--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running.")
@_at_gateway
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
@click.option("--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running.")
@_at_gateway
def reopen(gateway: str | None, key: str | None, task: str, watch: bool) -> None:
    """Label the same frames again, and train again.

    Those of TASK, whose labels are as they were left. Prints the id of the round, a new task.
    """
    from actverse.label_commands import begin_round

    begin_round(gateway, key, task, {"reopen": True}, watch=watch)


@labels.command("restore")
@click.argument("task")
@_as_json
@_at_gateway
def restore(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """Put a project, or frames of it, up again that its tool has lost.

    With the labels of TASK as they were read last.
    """
    from actverse.label_commands import restore_project

    restore_project(gateway, key, task, as_json=as_json)


@cli.command()
@click.argument("task")
@click.option("--now", is_flag=True, help="With the labels that are there.")
@_as_json
@_at_gateway
def train(gateway: str | None, key: str | None, task: str, now: bool, as_json: bool) -> None:
    """Let TASK go on before all of its frames are labelled."""
    from actverse.label_commands import train_now

    if not now:
        raise click.UsageError(
            "TASK trains by itself once all of its frames are labelled; --now does not wait for "
            "the others."
        )
    train_now(gateway, key, task, as_json=as_json)


@cli.group(invoke_without_command=True)
@_as_json
@_at_gateway
@click.pass_context
def models(context: click.Context, gateway: str | None, key: str | None, as_json: bool) -> None:
    """List the models that are served, or import one."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json goes with the list only.")
        context.obj = (gateway, key)
        return
    from actverse.model_commands import list_models

    list_models(gateway, key, as_json=as_json)


@models.command("import")
@click.argument("file")
@click.option("--name", required=True, help="The registered model; global labels frames for all.")
@click.option(
    "--images",
    metavar="PLACE",
    help="A folder of images, or a video, that show what it finds; or key: and a key.  "
    "[default: the frames of your newest task]",
)
@click.option("--imgsz", type=int, help="Of a .pt: long side of its input, pixels.")
@click.option("--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running.")
@_at_gateway
@click.pass_obj
def import_model(
    of_group: tuple[str | None, str | None],
    gateway: str | None,
    key: str | None,
    file: str,
    name: str,
    images: str | None,
    imgsz: int | None,
    watch: bool,
) -> None:
    """Serve FILE, a model that was trained elsewhere.

    FILE is an Ultralytics checkpoint (.pt), which is exported, or an ONNX file that actverse
    has exported. It is proven on images: whatever it finds there, it must find once served.
    The model of the name global labels everybody's frames; only administrators import it.
    """
    from actverse.model_commands import import_model as run

    run(gateway or of_group[0], key or of_group[1], file, name, images, imgsz, watch=watch)


@cli.command()
@click.argument("task")
@click.argument("video")
@click.option("--confidence", type=float, help="Of what is found.  [default: 0.25]")
@click.option("--iou", type=float, help="Of what counts as one.  [default: 0.7]")
@click.option("--batch-size", type=int, help="Frames that the model is given at once.")
@click.option("--frame-skip", type=int, help="Of so many frames, one is analysed.")
@click.option("--max-frames", type=int, help="At most so many.")
@click.option("--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running.")
@_at_gateway
def infer(
    gateway: str | None, key: str | None, task: str, video: str, watch: bool, **options: Any
) -> None:
    """Analyse VIDEO with the model of TASK.

    Prints the id of the analysis, a task of its own.
    """
    from actverse.task_commands import infer_video

    given = {name: value for name, value in options.items() if value is not None}
    infer_video(gateway, key, task, video, given, watch=watch)


@cli.group()
def keys() -> None:
    """API keys of the gateway's users."""


@keys.command("create")
@click.argument("user")
@click.option("--role", type=click.Choice(["user", "admin"]), help="[default: user]")
@click.option("--label", default="", help="What it is for.")
@click.option(
    "--bootstrap",
    is_flag=True,
    help="The first administrator's, made in the database itself: where the gateway runs.",
)
@click.option("--again", is_flag=True, help="With --bootstrap: even if there is one already.")
@_as_json
@_at_gateway
def create_key(
    gateway: str | None,
    key: str | None,
    user: str,
    role: str | None,
    label: str,
    bootstrap: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Make a key for USER, and print it: it is shown this once only."""
    from actverse import admin_commands

    if again and not bootstrap:
        raise click.UsageError("--again goes with --bootstrap only.")
    if bootstrap:
        if role == "user" or label or as_json:
            raise click.UsageError("--bootstrap makes a plain administrator's key.")
        admin_commands.bootstrap(user, again=again)
        return
    admin_commands.create_key(gateway, key, user, role or "user", label, as_json=as_json)


@keys.command("list")
@_as_json
@_at_gateway
def list_keys(gateway: str | None, key: str | None, as_json: bool) -> None:
    """List your keys; an administrator's: everybody's."""
    from actverse import admin_commands

    admin_commands.list_keys(gateway, key, as_json=as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID", type=int)
@_as_json
@_at_gateway
def revoke_key(gateway: str | None, key: str | None, key_id: int, as_json: bool) -> None:
    """End a key."""
    from actverse import admin_commands

    admin_commands.revoke_key(gateway, key, key_id, as_json=as_json)


@cli.group()
def notify() -> None:
    """Who hears of which events, and where."""


@notify.command("add")
@click.argument("url")
@click.option("--event", multiple=True, help="Such as RESULTS_UPLOADED; repeatable; else all.")
@_as_json
@_at_gateway
def add_rule(
    gateway: str | None, key: str | None, url: str, event: tuple[str, ...], as_json: bool
) -> None:
    """Hear of events at URL, as Apprise knows it; - reads it from stdin."""
    from actverse import admin_commands

    admin_commands.add_rule(gateway, key, url, event, as_json=as_json)


@notify.command("list")
@_as_json
@_at_gateway
def list_rules(gateway: str | None, key: str | None, as_json: bool) -> None:
    """List your rules; an administrator's: everybody's."""
    from actverse import admin_commands

    admin_commands.list_rules(gateway, key, as_json=as_json)


@notify.command("remove")
@click.argument("rule_id", metavar="ID", type=int)
@_as_json
@_at_gateway
def remove_rule(gateway: str | None, key: str | None, rule_id: int, as_json: bool) -> None:
    """Hear no more by a rule."""
    from actverse import admin_commands

    admin_commands.remove_rule(gateway, key, rule_id, as_json=as_json)


@notify.command("test")
@click.argument("rule_id", metavar="ID", type=int)
@_as_json
@_at_gateway
def test_rule(gateway: str | None, key: str | None, rule_id: int, as_json: bool) -> None:
    """Send a test message by a rule."""
    from actverse import admin_commands

    admin_commands.try_rule(gateway, key, rule_id, as_json=as_json)


cli.add_command(pipeline)


def _request(
    *, names: str, keypoints: str, flip_idx: str, weights: str, **options: Any
) -> dict[str, Any]:
    """The options as the client takes them; what is unset keeps the gateway's default."""
    given = {name: value for name, value in options.items() if value is not None}
    of_training = ("epochs", "imgsz", "batch", "model", "seed")
    training = {name: given.pop(name) for name in of_training if name in given}
    listed = {"names": names, "keypoints": keypoints, "flip_idx": flip_idx}
    parts = {
        name: [p.strip() for p in text.split(",") if p.strip()] for name, text in listed.items()
    }
    if "seed" in training:
        given["seed"] = training["seed"]
    return {**given, **parts, "weights": weights, "training": training}


for command in (role_cli.serve, role_cli.prepare, role_cli.health):
    cli.add_command(command)


def main() -> None:
    """Run the command line: 0 well, 1 an error of ours, 2 wrongly used, 130 interrupted."""
    from components.errors import ActverseError

    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ActverseError as error:
        click.echo(f"actverse: {error}", err=True)
        sys.exit(1)
    except ValueError as error:
        # Settings are checked by pydantic: name the field and the fault.
        if not hasattr(error, "errors"):
            raise
        for fault in error.errors():
            place = ".".join(str(part) for part in fault["loc"]) or "settings"
            click.echo(f"actverse: {place}: {fault['msg']}.", err=True)
        sys.exit(1)
