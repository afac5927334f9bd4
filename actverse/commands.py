"""What the commands do."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from actverse.client import Client
from actverse.stack import Addresses, Stack, api_key_path, find_running, running
from actverse.upload import upload_file, upload_folder
from actverse.watch import Outcome, watch_task
from components.errors import ActverseError, StepFailed, Unavailable
from components.settings import Settings

console = Console(highlight=False, soft_wrap=True)


def keep_up() -> None:
    """Start the stack, tell its addresses and the API key, and wait for Ctrl-C.

    Raises:
        Unavailable: if a server could not be kept running.
    """
    settings = Settings()
    with _stopped_by_signal(), running(settings, _told) as stack:
        _show(_addresses(settings), settings)
        console.print("Ctrl-C stops it.")
        _wait(stack)


def run_video(
    video: str, labels: Path, *, keep: bool = False, **options: Any
) -> tuple[str, Outcome]:
    """Take a video through the loop on the running stack, or on one of its own.

    Args:
        video: a file or an http(s) URL.
        labels: a folder of YOLO labels.
        keep: wait for Ctrl-C at the end instead of stopping the stack.
        options: as the command line's.

    Returns:
        The task's id, and how it ended.

    Raises:
        BadInput: for input that cannot be used.
        StepFailed: if a step failed, with its sentence.
    """
    settings = Settings()
    request = _request(settings, video, labels, **options)
    with _stopped_by_signal(), _stack(settings) as (addresses, stack):
        with Client(addresses.gateway, _api_key(settings)) as client:
            task_id = client.create_task(request)
            console.print(f"task [bold]{task_id}[/bold]")
            outcome = watch_task(client, task_id, console)
        outcome.print_table(console)
        stays = keep or stack is None
        _print_places(settings, task_id, addresses.mlflow if stays else "actverse up opens it")
        if outcome.state != "succeeded":
            raise StepFailed(outcome.error)
        if keep and stack is not None:
            _show(addresses, settings)
            console.print("Ctrl-C stops it.")
            _wait(stack)
    return task_id, outcome


def extract_to(video: Path, out: Path, number: int) -> None:
    """Extract frames of a video to label.

    Raises:
        BadVideo: if the video cannot be used.
    """
    import tempfile

    from components.video.convert import convert_video
    from components.video.extract import extract_frames, uniform_indices
    from components.video.probe import check_usable, probe_video

    facts = probe_video(video)
    check_usable(facts)
    with tempfile.TemporaryDirectory() as folder:
        # The frames' numbers count in the converted video, as in a task.
        converted = convert_video(video, Path(folder) / "video.mp4", facts)
        indices = uniform_indices(probe_video(converted).frame_count, number)
        extract_frames(converted, out, indices)
    console.print(
        f"{len(indices)} frames lie in {out}. Label them, then: "
        f"actverse run {video} --labels FOLDER"
    )


def _request(
    settings: Settings,
    video: str,
    labels: Path,
    *,
    names: str = "",
    keypoints: str = "",
    flip_idx: str = "",
    weights: str = "",
    **options: Any,
) -> dict[str, Any]:
    """The body of ``POST /tasks/``; what is unset keeps the gateway's default."""
    from gateway.schemas import TaskRequest

    training_names = ("epochs", "imgsz", "batch", "model", "seed")
    training = {name: options.pop(name, None) for name in training_names}
    body: dict[str, Any] = {
        "file_path": video,
        "labels_path": str(labels),
        "names": _listed(names),
        "keypoints": _listed(keypoints),
        "flip_idx": _listed(flip_idx),
        "training": {name: value for name, value in training.items() if value is not None},
        **{name: value for name, value in options.items() if value is not None},
    }
    TaskRequest.model_validate(body)
    layout = settings.layout
    body["labels_path"] = upload_folder(layout, labels)
    if not video.startswith(("http://", "https://")):
        body["file_path"] = upload_file(layout, Path(video))
    if Path(weights).is_file():
        body["training"]["weights"] = f"key:{upload_file(layout, Path(weights))}"
    elif weights:
        body["training"]["weights"] = weights
    return body


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@contextlib.contextmanager
def _stack(settings: Settings) -> Iterator[tuple[Addresses, Stack | None]]:
    """The running stack's addresses, or those of one that runs while the block does."""
    if addresses := find_running(settings.home):
        yield addresses, None
        return
    with running(settings, _told) as stack:
        yield _addresses(settings), stack


@contextlib.contextmanager
def _stopped_by_signal() -> Iterator[None]:
    """SIGTERM and SIGINT end the block as Ctrl-C does, so that the stack is stopped as well.

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


def _addresses(settings: Settings) -> Addresses:
    addresses = find_running(settings.home)
    if addresses is None:
        raise Unavailable("The stack does not answer any more: read its logs.")
    return addresses


def _api_key(settings: Settings) -> str:
    try:
        return api_key_path(settings.home).read_text(encoding="ascii").strip()
    except OSError as error:
        raise ActverseError(
            f"The API key in {api_key_path(settings.home)} cannot be read ({error.strerror})."
        ) from error


def _wait(stack: Stack) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while not stack.failure:
            time.sleep(0.2)
    if stack.failure:
        raise Unavailable(stack.failure)


def _told(line: str) -> None:
    console.print(f"[dim]{line}[/dim]")


def _show(addresses: Addresses, settings: Settings) -> None:
    for name, value in (
        ("gateway", f"{addresses.gateway}  (docs: {addresses.gateway}/docs)"),
        ("MLflow", addresses.mlflow),
        ("Triton", f"{addresses.triton_grpc} (gRPC), {addresses.triton_http}"),
        ("API key", _api_key(settings)),
        ("logs", settings.home / "logs"),
    ):
        console.print(f"{name:>9}  {value}")


def _print_places(settings: Settings, task_id: str, mlflow: str) -> None:
    layout = settings.layout
    results = layout.results(task_id)
    console.print(f"MLflow UI      {mlflow}")
    if results.exists():
        console.print(f"results        {results}")
        console.print(f"overlay video  {results / 'overlaid_results.mp4'}")
    console.print(f"training       {layout.train_log(task_id)}")
    console.print(f"logs           {settings.home / 'logs'}")
