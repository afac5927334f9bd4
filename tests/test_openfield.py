"""Real mice through the whole loop, in pose mode: labelled frames in, another session analysed."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from components.parity_set import ParitySet
from components.video.probe import probe_video

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ACTVERSE_TEST_OPENFIELD", ROOT.parent / "shared/data/openfield"))

pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"the open-field mice are not in {DATA} (ACTVERSE_TEST_OPENFIELD)"
    ),
    pytest.mark.slow,
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """The first 20 seconds of another session: what is to be seen in it, and quickly analysed."""
    path = tmp_path / "m3v1.mp4"
    with av.open(str(DATA / "m3v1.mp4")) as whole, av.open(str(path), "w") as cut:
        stream = whole.streams.video[0]
        copied = cut.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.pts is not None and packet.pts * packet.time_base < 20:
                packet.stream = copied
                cut.mux(packet)
    return path


@pytest.mark.timeout(900)
def test_mice_are_learned_served_and_found_in_another_session(stack, video: Path):
    task_id = stack.submit(
        video,
        DATA,
        task="pose",
        names=["mouse"],
        keypoints=["snout", "leftear", "rightear", "tailbase"],
        flip_idx=[0, 2, 1, 3],
        model_name="mice",
        training={"epochs": 12, "imgsz": 192, "batch": 4, "threads": 1},
    )
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error

    dataset = outcome.facts("dataset")
    assert (dataset["train"], dataset["held_out"]) == (87, 23)
    assert outcome.facts("train")["metrics"]["mAP50"] > 0.5
    assert outcome.facts("parity")["matched"] > 0
    assert outcome.facts("parity")["box_error"] <= 0.5

    layout = stack.settings.layout
    parity_set = ParitySet.read(layout.model_version("mice", 1) / "parity_set")
    assert sum(len(frame.expected) for frame in parity_set) > 0

    results = json.loads((layout.results(task_id) / "results.json").read_text())
    frames = probe_video(video).frame_count
    assert [entry["frame"] for entry in results["results"]] == list(range(frames))
    found = [entry for entry in results["results"] if entry["ids"]]
    assert len(found) > frames / 2
    for entry in found:
        for name in ("keypoints", "smoothed_keypoints"):
            points = np.asarray(entry[name])
            assert points.shape == (len(entry["ids"]), 4, 2)
            assert ((points >= 0) & (points <= 1)).all()
        assert np.asarray(entry["keypoints_score"]).shape == (len(entry["ids"]), 4)
