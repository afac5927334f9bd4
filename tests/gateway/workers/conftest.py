"""Real workers on each broker, a served model, and a clip."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from components.settings import Settings
from components.video.writer import Mp4Writer
from gateway.celery_app import create_celery
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.servers import TritonServer, new_triton
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model
from tests.helpers.workers import Workers, new_workers

MODEL = "blobs"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton that serves version 1 of a blob finder."""
    server = new_triton(tmp_path_factory.mktemp("served"))
    server.start()
    try:
        repository = ModelRepository(server.settings)
        write_tiny_model(repository.onnx(MODEL, 1), task="pose")
        repository.write_config(MODEL, {1})
        TritonControl(server.url).load(MODEL)
        yield server
    finally:
        server.stop()


@pytest.fixture
def dying_model(served: TritonServer) -> Iterator[str]:
    """The name of a model that Triton calls ready, and whose process is gone."""
    repository = ModelRepository(served.settings)
    write_tiny_model(repository.onnx("dying", 1), task="pose")
    repository.write_config("dying", {1})
    with TritonControl(served.url) as control:
        control.load("dying")
        for stub in served.stubs("dying"):
            os.kill(stub, signal.SIGKILL)
        yield "dying"
        control.unload("dying")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames of coloured blobs, new ones every eight frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with Mp4Writer(path, wh=(192, 144), fps=25, crf=12) as writer:
        for index in range(24):
            writer.write(draw_frame((192, 144), seed=index // 8, blobs=3)[0])
    return path


@pytest.fixture(params=["embedded", "rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of each broker in turn; those that are not installed are skipped."""
    if request.param == "embedded":
        return {}
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return {"broker_url": url, "redis_url": url}
    return {"broker_url": request.getfixturevalue("rabbitmq_url")}


@pytest.fixture
def settings(tmp_path: Path, broker: dict[str, str], database_url: str) -> Settings:
    """Leases so short that what is lost costs little, and such as a starved worker keeps."""
    return Settings(
        home=tmp_path,
        database_url=database_url,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        lease_seconds=10,
        requeue_seconds=6,
        labeling_poll_seconds=0.5,
        labeling_poll_max_seconds=1,
        labeling_settle_seconds=0.5,
        allow_private_urls=True,
        log_format="text",
        **broker,  # type: ignore[arg-type]
    )


@pytest.fixture
def workers(settings: Settings, clip: Path) -> Iterator[Workers]:
    """Not started; the clip is ada's ``clip.mp4``."""
    workers = new_workers(settings)
    mine = settings.layout.user_file("ada", "clip.mp4")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(clip.read_bytes())
    if settings.broker_url:
        # The brokers serve the whole session: nothing of another test is to be worked on.
        create_celery(settings).control.purge()
    try:
        yield workers
    finally:
        workers.kill()


@pytest.fixture
def web() -> Iterator[ScriptedWeb]:
    with scripted_web() as web:
        yield web
