"""What the commands about pipelines do, on Kubeflow Pipelines or on this machine."""

import json
import secrets
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import click

from actverse.run_watch import followed, run_table, run_view, runs_table
from actverse.stack import find_running, mlflow_token
from actverse.terminal import make_console, print_json, print_line, stopped_by_signal
from actverse.words import plain
from components.errors import BadInput, NotFound, StepFailed, Unavailable
from components.settings import Settings
from pipelines.arguments import check_arguments, read_argument
from pipelines.backend import PipelineBackend, PipelineName, RunRequest, RunState, RunStatus
from pipelines.backends import open_backend
from pipelines.compile import compile_pipeline

_LOCAL_POLL_SECONDS = 0.5
_ALL: tuple[PipelineName, ...] = ("training", "analysis")


@dataclass(frozen=True)
class Wanted:
    """A run as the command line asks for it; ``arguments`` are NAME=VALUE, and come first."""

    pipeline: str
    task: str | None
    model: str | None
    names: str | None
    epochs: int | None
    videos: tuple[str, ...]
    arguments: tuple[str, ...]
    run_name: str | None

    def request(self) -> RunRequest:
        """The run, with its parameters checked.

        Raises:
            BadInput: if one is unknown, missing, out of range, or belongs to another pipeline.
        """
        pipeline = cast(PipelineName, self.pipeline)
        given = self._training() if pipeline == "training" else self._analysis()
        for argument in self.arguments:
            name, equals, text = argument.partition("=")
            if not equals:
                raise BadInput(f"The argument {argument!r} has no value: write NAME=VALUE.")
            given[name] = read_argument(pipeline, name, _text(text))
        check_arguments(pipeline, given)
        subject = given["task_id"] if pipeline == "training" else given["run_id"]
        return RunRequest(pipeline, self.run_name or f"{pipeline}-{subject}", given)

    def _training(self) -> dict[str, Any]:
        if self.videos:
            raise BadInput("--video belongs to analysis: a training takes the labels of --task.")
        training = {} if self.epochs is None else {"epochs": self.epochs}
        given: dict[str, Any] = {
            "training": json.dumps(training),
            # What the labels are now is not known here, so no cached dataset is theirs.
            "labels_digest": secrets.token_hex(32),
        }
        if self.names is not None:
            names = [name.strip() for name in self.names.split(",") if name.strip()]
            given["labels"] = json.dumps({"task": "detect", "names": names})
        return given | _set(task_id=self.task, model_name=self.model)

    def _analysis(self) -> dict[str, Any]:
        for option, value in (("task", self.task), ("names", self.names), ("epochs", self.epochs)):
            if value is not None:
                raise BadInput(f"--{option} belongs to training: an analysis takes --video.")
        given: dict[str, Any] = {"run_id": f"a-{secrets.token_hex(6)}"}
        if self.videos:
            given["videos"] = [
                {"id": f"{given['run_id']}-{number}", "source": source.removeprefix("key:")}
                for number, source in enumerate(self.videos, start=1)
            ]
        return given | _set(model_name=self.model)


def compile_pipelines(
    name: str, output: Path, *, image_tag: str | None, image_repository: str | None
) -> None:
    """Write YAML and print its paths.

    Raises:
        BadInput: if the tag names no version, or several pipelines are to be one file.
    """
    given = _set(image_tag=image_tag, image_repository=image_repository)
    settings = Settings(without_secrets=True, **given)
    names = _ALL if name == "all" else (cast(PipelineName, name),)
    a_file = output.suffix in (".yaml", ".yml")
    if a_file and len(names) > 1:
        raise BadInput(f"Several pipelines are not one file {output}: name a folder.")
    for one in names:
        target = output if a_file else output / f"actverse-{one}.yaml"
        click.echo(compile_pipeline(one, target, settings))


def submit_pipeline(wanted: Wanted, *, watch: bool, as_json: bool, local: bool) -> None:
    """Begin a run; print its id on stdout, alone, and beside it how it is followed.

    Raises:
        StepFailed: if it was followed and did not succeed.
    """
    request = wanted.request()
    settings, backend = _opened(local, to_submit=True)
    if (there := backend.find(request.name)) is not None:
        make_console(stderr=True).print(
            f"The run {request.name} is there already: {there.state.lower()}. To have another "
            "one, name it by --run-name.",
            markup=False,
        )
    run_id = backend.submit(request)
    if watch:
        if not as_json:
            click.echo(run_id)
        _follow(settings, backend, run_id, as_json=as_json, local=local)
    elif as_json:
        print_json(_content(backend.status(run_id)))
    else:
        click.echo(run_id)
        hint = f"actverse pipeline status {run_id} --watch{_options(local)}"
        make_console(stderr=True).print(hint, style="dim", markup=False)


def show_run(run: str, *, watch: bool, as_json: bool, local: bool) -> None:
    """Print where a run stands, or follow it to its end.

    Raises:
        NotFound: if there is no such run.
        StepFailed: if it was followed and did not succeed.
    """
    settings, backend = _opened(local)
    status = _found(backend, run)
    if watch:
        _follow(settings, backend, status.run_id, as_json=as_json, local=local)
    elif as_json:
        print_json(_content(status))
    else:
        make_console().print(run_table(status))


def print_logs(run: str, task: str, *, local: bool) -> None:
    """Print what a run's steps have printed.

    Raises:
        NotFound: if there is no such run or task, or its log is not kept any more.
    """
    _, backend = _opened(local)
    for line in backend.logs(_found(backend, run).run_id, task):
        # Somebody else wrote it; what it would have a terminal do stays out.
        click.echo("".join(s if s.isprintable() or s == "\t" else "�" for s in line))


def cancel_run(run: str, *, as_json: bool, local: bool) -> None:
    """End a run, and print how it is then."""
    _, backend = _opened(local)
    before = _found(backend, run)
    backend.cancel(before.run_id)
    status = backend.status(before.run_id)
    if as_json:
        print_json(_content(status))
        return
    had = "had ended before" if before.state.ended else "is"
    make_console().print(f"The run {plain(status.name)} {had}: {status.state.lower()}.")


def list_runs(limit: int, *, as_json: bool, local: bool) -> None:
    """Print the newest runs."""
    _, backend = _opened(local)
    runs = backend.runs(limit)
    if as_json:
        print_json([_content(run) for run in runs])
    elif runs:
        make_console().print(runs_table(runs))
    else:
        make_console(stderr=True).print("There are no runs.")


def _opened(local: bool, *, to_submit: bool = False) -> tuple[Settings, PipelineBackend]:
    """The settings and the place; a run on this machine uses the stack that runs here."""
    settings = Settings()
    here = local or not settings.kfp_endpoint
    if here and to_submit:
        if settings.root.startswith("s3://"):
            raise BadInput(
                f"The storage is {settings.root}, whose key no run on this machine is given: "
                "submit to Kubeflow Pipelines, or post a task to the gateway."
            )
        addresses = find_running(settings.home)
        if addresses is not None:
            settings = settings.model_copy(
                update={
                    "gateway_uri": addresses.gateway,
                    "mlflow_uri": addresses.mlflow,
                    "mlflow_token": mlflow_token(settings.home),
                    "triton_url": addresses.triton_grpc,
                }
            )
        elif not (settings.mlflow_uri and settings.triton_url):
            raise Unavailable(
                f"No stack runs in {settings.home}, whose tracking server and Triton the steps "
                "need: start one with 'actverse up'."
            )
    return settings, open_backend(settings, local=local)


def _found(backend: PipelineBackend, run: str) -> RunStatus:
    """A run by its id or its name."""
    try:
        uuid.UUID(run)
    except ValueError:
        found = backend.find(run)
        if found is None:
            raise NotFound(
                f"There is no run {run}: 'actverse pipeline list' lists the newest."
            ) from None
        return found
    return backend.status(run)


def _follow(
    settings: Settings, backend: PipelineBackend, run_id: str, *, as_json: bool, local: bool
) -> None:
    here = local or not settings.kfp_endpoint
    poll = _LOCAL_POLL_SECONDS if here else settings.kfp_poll_seconds
    say = make_console(stderr=True)
    last: RunStatus | None = None
    try:
        with stopped_by_signal(), run_view(make_console()) as show:
            looks = followed(backend, run_id, poll, lambda s: say.print(plain(s), markup=False))
            for status in looks:
                if not as_json:
                    show(status)
                elif status != last:
                    print_line(_content(status))
                last = status
    except KeyboardInterrupt:
        hint = f"The run goes on: actverse pipeline status {run_id} --watch{_options(local)}"
        say.print(hint, markup=False)
        raise
    if last is None or last.state == RunState.SUCCEEDED:
        return
    if last.state == RunState.CANCELED:
        raise StepFailed(f"The run {plain(last.name)} was canceled.")
    raise StepFailed(plain(last.error or f"The run {last.name} is {last.state.lower()}."))


def _content(status: RunStatus) -> dict[str, Any]:
    """A status as JSON has it."""
    return cast(dict[str, Any], _plain(asdict(status)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _text(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"The file {text[1:]} cannot be read ({type(error).__name__}).") from error


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _options(local: bool) -> str:
    return " --local" if local else ""
