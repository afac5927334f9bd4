"""The analysis pipeline as it is compiled, run by KFP's local runner against a real Triton."""

import json
import os
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.frame_results import read_chunks
from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from components.settings import Settings
from components.video.writer import Mp4Writer
from pipelines.backend import RunRequest, RunState, RunStatus
from pipelines.local_backend import LocalBackend
from tests.helpers.servers import TritonServer, new_triton, wait_until
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model
from tests.helpers.web import serving

pytestmark = pytest.mark.slow

FRAMES = 6
STEPS = ("fetch", "analyse", "tables", "overlay", "notebook")


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton that serves ``blobs``."""
    server = new_triton(tmp_path_factory.mktemp("triton"))
    server.start()
    try:
        repository = ModelRepository(server.settings)
        write_tiny_model(repository.onnx("blobs", 1), task="pose")
        repository.write_config("blobs", {1})
        TritonControl(server.url).load("blobs")
        yield server
    finally:
        server.stop()


def add_videos(settings: Settings) -> None:
    """A video of some frames and a file that is none."""
    folder = settings.layout.root / "users" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    with Mp4Writer(folder / "good.mp4", wh=(192, 144), fps=25, crf=12) as writer:
        for index in range(FRAMES):
            writer.write(draw_frame((192, 144), seed=index // 3, blobs=3)[0])
    (folder / "broken.mp4").write_bytes(b"no video")


def run(settings: Settings, name: str, videos: list[dict[str, str]], **more: Any) -> RunStatus:
    """Run the analysis to its end."""
    backend = LocalBackend(settings, own_session=False)
    arguments = {"run_id": name, "model_name": "blobs", "videos": videos, **more}
    backend.submit(RunRequest("analysis", name, arguments))
    wait_until(lambda: backend.status(name).state.ended, 240, f"the end of {name}")
    return backend.status(name)


def video(name: str) -> dict[str, str]:
    return {"id": name, "source": f"users/lab/{name}.mp4"}


def break_client(handler: BaseHTTPRequestHandler) -> None:
    """End who asks, as a decoder's fault would."""
    port = handler.client_address[1]
    [client] = [one.pid for one in psutil.net_connections("tcp") if one.laddr.port == port]
    assert client is not None
    os.kill(client, signal.SIGSEGV)


def test_a_broken_video_stops_no_other_and_is_listed(triton: TritonServer):
    settings = triton.settings.model_copy(update={"allow_private_urls": True})
    add_videos(settings)
    with serving(break_client) as server:
        deadly = {"id": "deadly", "source": f"http://127.0.0.1:{server.server_port}/deadly.mp4"}
        videos = [video("broken"), deadly, video("good")]
        ended = run(settings, "run-1", videos, max_frames=4, batch_size=2)

    assert (ended.state, ended.error) == (RunState.SUCCEEDED, "")
    results = settings.layout.results("good")
    assert {path.name for path in results.iterdir()} >= {
        "chunks",
        "results.csv",
        "results.json",
        "overlaid_results.mp4",
        "report.ipynb",
    }
    frames = [entry for chunk in read_chunks(results) for entry in chunk]
    assert [entry.frame for entry in frames] == list(range(4)), "max_frames came as it was given"
    assert all(entry.ids for entry in frames)
    assert not settings.layout.results("broken").exists()

    summary = json.loads((settings.layout.results("run-1") / "summary.json").read_text())
    broken, killed, good = summary["results"]
    assert (good["state"], good["frames"], good["model"], good["version"]) == (
        "succeeded",
        4,
        "blobs",
        1,
    )
    assert (broken["state"], broken["failed_in"]) == ("failed", "fetch")
    assert "cannot be read as a video" in broken["error"]
    assert (killed["state"], killed["failed_in"]) == ("failed", "fetch")
    assert "ended by signal 11" in killed["error"]
    reports = settings.layout.step_reports("good")
    assert {path.stem for path in reports.glob("*.json")} == set(STEPS)


def test_where_every_video_fails_the_run_does_and_says_why(tmp_path: Path):
    settings = Settings(home=tmp_path, triton_url="127.0.0.1:1")
    add_videos(settings)
    ended = run(settings, "run-2", [video("broken")])
    assert ended.state is RunState.FAILED
    assert "None of the 1 videos could be analysed" in ended.error
    assert "broken, failed in the step fetch" in ended.error
    states = {task.name: task.state for task in ended.tasks}
    assert states.pop("summary") is RunState.FAILED
    assert set(states) == set(STEPS)
    assert set(states.values()) == {RunState.SUCCEEDED}
