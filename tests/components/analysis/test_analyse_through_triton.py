"""The whole analysis against a real Triton and a real ONNX file."""

import json
import os
import signal
from pathlib import Path

import pytest

from components.analysis.analyse import analyse
from components.analysis.options import AnalysisOptions
from components.errors import NotFound, StepFailed, Unavailable
from components.frame_results import chunk_paths, read_chunks
from components.onnx_model import OnnxModel
from components.results.results_json import write_json
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from components.video.writer import Mp4Writer
from tests.helpers.servers import TritonServer, new_triton
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model

NAMES = {"task_id": "task-1", "model_name": "blobs", "model_version": 1}
OPTIONS = AnalysisOptions(batch_size=4, chunk_frames=10)


@pytest.fixture(scope="module")
def blobs_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of coloured blobs, new ones every ten frames."""
    path = tmp_path_factory.mktemp("blobs") / "blobs.mp4"
    with Mp4Writer(path, wh=(192, 144), fps=25, crf=12) as writer:
        for index in range(30):
            writer.write(draw_frame((192, 144), seed=index // 10, blobs=3)[0])
    return path


def serve(server: TritonServer, model: str) -> Path:
    """Write and load version 1 of a blob finder; give its ONNX file."""
    repository = ModelRepository(server.settings)
    write_tiny_model(repository.onnx(model, 1), task="pose")
    repository.write_config(model, {1})
    TritonControl(server.url).load(model)
    return repository.onnx(model, 1)


def shared_blocks() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"actverse-{os.getpid()}-*")}


@pytest.mark.parametrize("shared_memory", [True, False])
def test_served_and_local_model_give_the_same_chunks(triton, blobs_video, tmp_path, shared_memory):
    onnx = serve(triton, "analysed")
    served, local = tmp_path / "served", tmp_path / "local"
    with TritonModel(triton.url, "analysed", 1, shared_memory=shared_memory) as model:
        facts = analyse(blobs_video, served, model, options=OPTIONS, **NAMES)
        assert not shared_blocks(), "the slots are given back with the analysis"
    analyse(blobs_video, local, OnnxModel(onnx), options=OPTIONS, **NAMES)

    assert facts.detections >= 60
    assert facts.identities >= 4
    pairs = zip(chunk_paths(served), chunk_paths(local), strict=True)
    assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)
    entries = json.loads(write_json(served).read_text())["results"]
    assert [entry["frame"] for entry in entries] == list(range(30))


def test_a_model_that_is_not_served_is_named(triton, blobs_video, tmp_path):
    with (
        TritonModel(triton.url, "nobody", 1, shared_memory=True) as model,
        pytest.raises(NotFound, match="nobody"),
    ):
        analyse(blobs_video, tmp_path, model, options=OPTIONS, **NAMES)


def test_a_server_that_dies_ends_the_analysis_and_it_goes_on_with_the_next(blobs_video, tmp_path):
    server = new_triton(tmp_path / "triton")
    server.start()
    try:
        serve(server, "dying")

        def kill(done, total, **facts):
            if done >= 12 and server.process.poll() is None:
                # Its group: the stubs would outlive it.
                os.killpg(server.process.pid, signal.SIGKILL)
                server.process.wait()

        results = tmp_path / "results"
        with (
            TritonModel(server.url, "dying", 1, shared_memory=True, timeout=10) as model,
            pytest.raises((Unavailable, StepFailed)),
        ):
            analyse(blobs_video, results, model, options=OPTIONS, progress=kill, **NAMES)
        kept = [entry.frame for chunk in read_chunks(results) for entry in chunk]
        # What was under way may still have been answered, but not the end.
        assert kept in (list(range(10)), list(range(20)))
        assert not shared_blocks()

        server.start()
        TritonControl(server.url).load("dying")
        with TritonModel(server.url, "dying", 1, shared_memory=True) as model:
            facts = analyse(blobs_video, results, model, options=OPTIONS, **NAMES)
        assert (facts.resumed_at, facts.frames) == (len(kept), 30)
    finally:
        server.stop()
