"""The commands of ``actverse pipeline``; heavy imports wait until one of them is run."""

from pathlib import Path

import click

from actverse.options import as_json, follow

_local = click.option(
    "--local", is_flag=True, help="On this machine, also where Kubeflow Pipelines is set."
)


@click.group()
def pipeline() -> None:
    """The pipelines: their YAML, and their runs.

    Runs are on Kubeflow Pipelines where ACTVERSE_KFP_ENDPOINT names one, else on this machine.
    RUN is the id of one, or its name.
    """


@pipeline.command("compile")
@click.argument(
    "name", type=click.Choice(["training", "analysis", "all"]), default="all", required=False
)
@click.option("--image-tag", help="The images' version.  [default: ACTVERSE_IMAGE_TAG]")
@click.option("--image-repository", help="Where they are.  [default: ACTVERSE_IMAGE_REPOSITORY]")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default="this folder",
    help="A folder; of one pipeline also a .yaml file.",
)
def compile_(name: str, image_tag: str | None, image_repository: str | None, output: Path) -> None:
    """Write the YAML of a pipeline, or of all, for Kubeflow Pipelines."""
    from actverse.pipeline_commands import compile_pipelines

    compile_pipelines(name, output, image_tag=image_tag, image_repository=image_repository)


@pipeline.command("submit")
@click.argument("name", type=click.Choice(["training", "analysis"]))
@click.option("--task", metavar="TASK", help="training: whose frames and labels it takes.")
@click.option("--model", metavar="NAME", help="The registered model: to train, or to analyse with.")
@click.option("--names", metavar="A,B", help="training: the class names of the labels.")
@click.option("--epochs", type=int, help="training: how many.  [default: 60]")
@click.option(
    "--video",
    "videos",
    multiple=True,
    metavar="URL",
    help="analysis: an http, https or s3 URL, or key: and a key of the storage; repeatable.",
)
@click.option(
    "--argument",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any parameter of the pipeline, @FILE for what a file holds; repeatable.",
)
@click.option("--run-name", metavar="NAME", help="One that is there already is not begun again.")
@follow
@as_json
@_local
def submit(
    name: str,
    task: str | None,
    model: str | None,
    names: str | None,
    epochs: int | None,
    videos: tuple[str, ...],
    arguments: tuple[str, ...],
    run_name: str | None,
    watch: bool,
    as_json: bool,
    local: bool,
) -> None:
    """Begin a run of a pipeline and print its id.

    \b
      actverse pipeline submit training --task t-1 --model mice --names mouse,rat
      actverse pipeline submit analysis --model mice --video https://lab.example/a.mp4
    """
    from actverse.pipeline_commands import Wanted, submit_pipeline

    wanted = Wanted(name, task, model, names, epochs, videos, arguments, run_name)
    submit_pipeline(wanted, watch=watch, as_json=as_json, local=local)


@pipeline.command("status")
@click.argument("run")
@follow
@as_json
@_local
def status(run: str, watch: bool, as_json: bool, local: bool) -> None:
    """Say where RUN stands, or follow it.

    With --watch it ends with 1 if the run does not succeed.
    """
    from actverse.pipeline_commands import show_run

    show_run(run, watch=watch, as_json=as_json, local=local)


@pipeline.command("logs")
@click.argument("run")
@click.option("--task", default="", metavar="NAME", help="Only this step's.")
@_local
def logs(run: str, task: str, local: bool) -> None:
    """Print what the steps of RUN have printed so far."""
    from actverse.pipeline_commands import print_logs

    print_logs(run, task, local=local)


@pipeline.command("cancel")
@click.argument("run")
@as_json
@_local
def cancel(run: str, as_json: bool, local: bool) -> None:
    """End RUN; one that has ended stays as it is."""
    from actverse.pipeline_commands import cancel_run

    cancel_run(run, as_json=as_json, local=local)


@pipeline.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="The newest.")
@as_json
@_local
def list_(limit: int, as_json: bool, local: bool) -> None:
    """List runs, the newest first."""
    from actverse.pipeline_commands import list_runs

    list_runs(limit, as_json=as_json, local=local)
