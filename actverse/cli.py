"""The command line. Heavy imports wait until a command needs them: help answers at once."""

import sys
from pathlib import Path
from typing import Any

import click

from actverse import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Raw video in, a served custom YOLO model and its analysis out.

    Settings come from the environment as ACTVERSE_*; ACTVERSE_HOME is where everything
    lies (default: .actverse in this folder).
    """


@cli.command()
def up() -> None:
    """Start the stack and keep it running until Ctrl-C."""
    from actverse.commands import keep_up

    keep_up()


@cli.command()
@click.argument("video")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of YOLO text labels with their images, or named after the extracted frames.",
)
@click.option("--task", type=click.Choice(["detect", "pose"]), default="detect", show_default=True)
@click.option("--names", default="", help="Class names, comma-separated; else the folder's own.")
@click.option("--keypoints", default="", help="Key point names, comma-separated (pose).")
@click.option("--flip-idx", default="", help="Each key point's mirror image, comma-separated.")
@click.option("--model-name", default=None, help="The registered model.  [default: local-TASK]")
@click.option("--epochs", type=int, help="Training epochs.")
@click.option("--imgsz", type=int, help="Long side of the model's input, pixels.")
@click.option("--batch", type=int, help="Images in a training batch.")
@click.option("--model", type=str, help="Architecture, such as yolo11n.")
@click.option("--weights", default="", help="A .pt file, or a published name such as yolo11n.pt.")
@click.option("--seed", type=int, help="Seed of the training.")
@click.option("--held-out", type=float, default=0.2, show_default=True, help="Share for judging.")
@click.option("--confidence", type=float, default=0.25, show_default=True)
@click.option("--iou", type=float, default=0.7, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the stack running until Ctrl-C.")
def run(video: str, labels: Path, keep: bool, **options: Any) -> None:
    """Take VIDEO (a file or an http(s) URL) to a served model and its analysis.

    Uses the stack that runs here, or starts one for as long as it takes.
    """
    from actverse.commands import run_video

    run_video(video, labels, keep=keep, **options)


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
@click.option("--number", default=120, show_default=True, help="How many, evenly spread.")
def extract(video: Path, out: Path, number: int) -> None:
    """Extract frames of VIDEO to label; their names tell `run --labels` where they belong."""
    from actverse.commands import extract_to

    extract_to(video, out, number)


@cli.group()
def pipeline() -> None:
    """The training pipeline."""


@pipeline.command("compile")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("actverse-training.yaml"),
    show_default=True,
)
def compile_(output: Path) -> None:
    """Write the training pipeline's YAML, for Kubeflow Pipelines."""
    from pipelines.compile import compile_training

    click.echo(compile_training(output))


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit code 1."""
    from components.errors import ActverseError

    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ActverseError as error:
        click.echo(f"actverse: {error}", err=True)
        sys.exit(1)
    except ValueError as error:
        # Settings and requests are checked by pydantic: name the field and the fault.
        if not hasattr(error, "errors"):
            raise
        for fault in error.errors():
            place = ".".join(str(part) for part in fault["loc"]) or "settings"
            click.echo(f"actverse: {place}: {fault['msg']}.", err=True)
        sys.exit(1)
