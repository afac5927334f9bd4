"""What the commands do that may start a stack of their own."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actverse.asking import Strategy, check_task
from actverse.label_studio import label_studio_login
from actverse.stack import Stack, find_running, running
from actverse.task_commands import check_outcome, print_labeling_hint
from actverse.terminal import make_console, stopped_by_signal, transfer_bar
from actverse.watch import Outcome, watch_task
from actverse.where import Where, find_gateway
from components.errors import Refused, Unavailable
from components.registry.tracking_app import USER
from components.settings import Settings

console = make_console()


def keep_up(*, label_studio: bool = False) -> None:
    """Start the stack, tell its addresses, and wait for Ctrl-C.

    Args:
        label_studio: with one of its own.

    Raises:
        Unavailable: if a server could not be kept running.
    """
    settings = Settings()
    with stopped_by_signal(), running(settings, _told, label_studio=label_studio) as stack:
        _show(settings)
        _wait(stack)


def run_video(
    video: str,
    labels: str | None,
    *,
    gateway: str | None = None,
    key: str | None = None,
    keep: bool = False,
    label_studio: bool = False,
    **options: Any,
) -> tuple[str, Outcome]:
    """Take a video through the loop: at a given gateway, the running stack's, or one's own.

    Args:
        video: a file, a URL, or ``key:`` and a key.
        labels: a folder, file or archive of labels, or ``key:`` and a key; without them it
            waits for people.
        keep: wait for Ctrl-C at the end instead of stopping the stack.
        label_studio: label there; one's own stack starts it.
        options: as ``Client.create_task`` takes them.

    Returns:
        The task's id, and how it ended.

    Raises:
        BadInput: for input that cannot be used.
        StepFailed: if a step failed, with its sentence.
    """
    check_task(video, labels, **options)
    with (
        stopped_by_signal(),
        _gateway(gateway, key, label_studio=label_studio) as (where, stack),
        where.client() as client,
    ):
        if label_studio and where.settings is not None:
            _show_label_studio(where.settings)
        with transfer_bar() as progress:
            task_id = client.create_task(video, labels, progress=progress, **options)
        console.print(f"task [bold]{task_id}[/bold]")
        try:
            outcome = watch_task(
                client,
                task_id,
                console,
                waits=lambda: print_labeling_hint(where, client, task_id, console),
            )
        except KeyboardInterrupt:
            _print_goes_on(where, stack, task_id)
            raise
        outcome.print_table(console)
        _print_places(where, task_id, stays=keep or stack is None)
        check_outcome(task_id, outcome)
        if keep and stack is not None:
            _show(stack.settings)
            _wait(stack)
    return task_id, outcome


def extract_to(
    video: Path,
    out: Path,
    number: int,
    strategy: Strategy = "uniform",
    min_seconds_apart: float | None = None,
    seed: int = 0,
) -> None:
    """Extract frames of a video to label, and say beside them how they were chosen.

    Args:
        strategy: one that needs no model.

    Raises:
        BadInput: if the number or the distance makes no sense.
        BadVideo: if the video cannot be used.
    """
    import tempfile

    from components.video.convert import convert_video
    from components.video.extract import extract_frames
    from components.video.probe import check_usable, probe_video
    from components.video.selection.options import SelectionOptions
    from components.video.selection.select import select_frames

    options = SelectionOptions(
        strategy=strategy, number=number, min_seconds_apart=min_seconds_apart, seed=seed
    )
    facts = probe_video(video)
    check_usable(facts)
    with tempfile.TemporaryDirectory() as folder:
        # The frames' numbers count in the converted video, as in a task.
        converted = convert_video(video, Path(folder) / "video.mp4", facts)
        chosen = select_frames(converted, probe_video(converted), options)
        extract_frames(converted, out, [frame.index for frame in chosen.frames])
    chosen.write(out)
    if chosen.note:
        console.print(f"{chosen.note}.", markup=False)
    console.print(
        f"{len(chosen.frames)} frames lie in {out}. Label them, then: "
        f"actverse run {video} --labels FOLDER",
        markup=False,
    )


@contextlib.contextmanager
def _gateway(
    gateway: str | None, key: str | None, *, label_studio: bool = False
) -> Iterator[tuple[Where, Stack | None]]:
    """A gateway that is there, or that of a stack which runs while the block does.

    Raises:
        Refused: if a Label Studio is asked for and what runs has none.
    """
    settings = Settings()
    if gateway and label_studio:
        raise Refused(
            f"Whether tasks of {gateway} are labelled in Label Studio is for its operator to "
            "say: leave out --label-studio."
        )
    if gateway or (addresses := find_running(settings.home)):
        if label_studio and not (addresses and addresses.label_studio):
            raise Refused(
                f"The stack that runs in {settings.home} has no Label Studio: stop it and start "
                "it with 'actverse up --label-studio'."
            )
        yield find_gateway(gateway, key), None
        return
    with running(settings, _told, label_studio=label_studio) as stack:
        yield find_gateway(None, None), stack


def _wait(stack: Stack) -> None:
    console.print("Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        while not stack.failure:
            time.sleep(0.2)
    if stack.failure:
        raise Unavailable(stack.failure)


def _told(line: str) -> None:
    console.print(line, style="dim", markup=False)


def _show(settings: Settings) -> None:
    addresses = find_running(settings.home)
    if addresses is None:
        raise Unavailable("The stack does not answer any more: read its logs.")
    for name, value in (
        ("gateway", f"{addresses.gateway}  (docs: {addresses.gateway}/docs)"),
        ("MLflow", f"{addresses.mlflow}  (user {USER}, password: actverse keys show mlflow)"),
        ("Triton", f"{addresses.triton_grpc} (gRPC)"),
        ("API key", "actverse keys show"),
        ("logs", settings.home / "logs"),
    ):
        _entry(name, value)
    _show_label_studio(settings)


def _show_label_studio(settings: Settings) -> None:
    addresses = find_running(settings.home)
    if addresses is None or not addresses.label_studio:
        return
    login = label_studio_login(settings.home)
    _entry("Label Studio", addresses.label_studio)
    _entry("user", login.username)
    _entry("password", "actverse keys show label-studio")


def _entry(name: str, value: object) -> None:
    console.print(f"{name:>12}  {value}", markup=False)


def _print_goes_on(where: Where, stack: Stack | None, task_id: str) -> None:
    say = make_console(stderr=True).print
    if stack is not None:
        say(
            f"The stack is being stopped. With 'actverse up' the task {task_id} goes on.",
            markup=False,
        )
        return
    say(f"The task goes on: actverse status {task_id} --watch{where.options}", markup=False)


def _print_places(where: Where, task_id: str, *, stays: bool) -> None:
    if where.settings is None:
        _line("results", f"actverse results {task_id} --download FOLDER{where.options}")
        return
    settings = where.settings
    addresses = find_running(settings.home)
    _line("MLflow UI", addresses.mlflow if addresses and stays else "actverse up opens it")
    if settings.root.startswith("s3://"):
        _line("results", f"{settings.root}/inference_results/{task_id}")
    elif (results := settings.layout.results(task_id)).exists():
        _line("results", results)
        _line("overlay video", results / "overlaid_results.mp4")
    if (training := settings.layout.train_log(task_id)).exists():
        _line("training", training)
    _line("logs", settings.home / "logs")


def _line(name: str, value: object) -> None:
    console.print(f"{name:<14} {value}", markup=False)
