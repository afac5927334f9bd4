"""The command line. Heavy imports wait until a command needs them: help answers at once."""

import sys
from pathlib import Path
from typing import Any

import click

from actverse import __version__, role_cli
from actverse.admin_cli import keys, notify
from actverse.label_cli import labels
from actverse.options import FORMATS, STRATEGIES, as_json, at_gateway, follow, options
from actverse.pipeline_cli import pipeline

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


_asking = options(
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
        type=click.Choice(STRATEGIES),
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
_labels = options(
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
        type=click.Choice(FORMATS),
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
@at_gateway
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
@at_gateway
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
@as_json
@at_gateway
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
@follow
@as_json
@at_gateway
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
@as_json
@at_gateway
def results(
    gateway: str | None, key: str | None, task: str, download: Path | None, as_json: bool
) -> None:
    """List the result files of TASK."""
    from actverse.task_commands import show_results

    show_results(gateway, key, task, download, as_json=as_json)


@cli.command()
@click.argument("task")
@as_json
@at_gateway
def cancel(gateway: str | None, key: str | None, task: str, as_json: bool) -> None:
    """End TASK; what it has brought is kept."""
    from actverse.task_commands import cancel_task

    cancel_task(gateway, key, task, as_json=as_json)


@cli.command()
@click.argument("task")
@click.option("--now", is_flag=True, help="With the labels that are there.")
@as_json
@at_gateway
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
@as_json
@at_gateway
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
@follow
@at_gateway
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
@follow
@at_gateway
def infer(
    gateway: str | None, key: str | None, task: str, video: str, watch: bool, **options: Any
) -> None:
    """Analyse VIDEO with the model of TASK.

    Prints the id of the analysis, a task of its own.
    """
    from actverse.task_commands import infer_video

    given = {name: value for name, value in options.items() if value is not None}
    infer_video(gateway, key, task, video, given, watch=watch)


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


for command in (labels, keys, notify, pipeline, role_cli.serve, role_cli.prepare, role_cli.health):
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
