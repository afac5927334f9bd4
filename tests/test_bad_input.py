"""Bad input through the running stack: one clear sentence, the task failed, nothing half-made."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from actverse.sample import SampleTruth, make_sample
from components.errors import BadLabels
from components.video.writer import Mp4Writer

FRAMES = 40


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleTruth]:
    video = tmp_path_factory.mktemp("good") / "sample.mp4"
    return video, make_sample(video, frames=FRAMES, wh=(160, 120))


def _empty(path: Path, good: Path) -> None:
    path.touch()


def _truncated(path: Path, good: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _audio(path: Path, good: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _one_frame(path: Path, good: Path) -> None:
    with Mp4Writer(path, wh=(64, 64), fps=30) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_empty, "broken.mp4 is empty"),
        (_truncated, "broken.mp4 is cut off"),
        (_audio, "broken.mp4 holds no moving pictures"),
        (_one_frame, "1 frame, but at least 2"),
    ],
)
def test_a_video_that_cannot_be_used(stack, good, tmp_path: Path, make: Callable, sentence: str):
    video, truth = good
    truth.write_labels(tmp_path / "labels", range(0, FRAMES, 4))
    make(tmp_path / "broken.mp4", video)
    task_id = stack.submit(
        tmp_path / "broken.mp4", tmp_path / "labels", names=list(truth.spec.names)
    )
    outcome = stack.outcome(task_id)
    assert outcome.state == "failed"
    assert sentence in outcome.error
    assert "broke:" not in outcome.error
    layout = stack.settings.layout
    assert not (layout.video(task_id) / "video.mp4").exists()
    assert not layout.frames(task_id).exists()


def _all_empty(labels: Path) -> None:
    for path in labels.iterdir():
        path.write_text("")


def _unknown_class(labels: Path) -> None:
    (labels / "frame_000004.txt").write_text("7 0.5 0.5 0.1 0.1\n")


def _out_of_range(labels: Path) -> None:
    (labels / "frame_000004.txt").write_text("0 1.5 0.5 0.1 0.1\n")


def _missing_frame(labels: Path) -> None:
    (labels / f"frame_{FRAMES:06d}.txt").write_text("0 0.5 0.5 0.1 0.1\n")


def _no_frame(labels: Path) -> None:
    (labels / "holiday.txt").write_text("0 0.5 0.5 0.1 0.1\n")


def _too_few(labels: Path) -> None:
    for path in sorted(labels.iterdir())[1:]:
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_all_empty, "no object"),
        (_unknown_class, "frame_000004.txt, line 1: class 7 is unknown"),
        (_out_of_range, "outside 0 to 1"),
        (_missing_frame, f"frame_{FRAMES:06d} belongs to no image"),
        (_no_frame, "holiday belongs to no image"),
        (_too_few, "label"),
    ],
)
def test_labels_that_cannot_be_used(stack, good, tmp_path: Path, spoil: Callable, sentence: str):
    video, truth = good
    labels = tmp_path / "labels"
    truth.write_labels(labels, range(0, FRAMES, 4))
    spoil(labels)
    task_id = stack.submit(video, labels, names=list(truth.spec.names))
    outcome = stack.outcome(task_id)
    assert outcome.state == "failed"
    assert sentence in outcome.error
    assert "broke:" not in outcome.error
    assert not (stack.settings.layout.train_log(task_id) / "model.pt").exists()


def test_a_label_folder_without_labels_is_not_even_sent(stack, good, tmp_path: Path):
    (tmp_path / "labels").mkdir()
    before = [task["task_id"] for task in stack.client.tasks()]
    with pytest.raises(BadLabels, match="no label file"):
        stack.submit(good[0], tmp_path / "labels")
    assert [task["task_id"] for task in stack.client.tasks()] == before


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1/a.mp4", "127.0.0.1"),
        ("http://169.254.169.254/latest/a.mp4", "169.254.169.254"),
        ("http://no-such-host.invalid/a.mp4", "no-such-host.invalid"),
    ],
)
def test_a_url_that_cannot_be_fetched(stack, good, tmp_path: Path, url: str, sentence: str):
    _, truth = good
    truth.write_labels(tmp_path / "labels", range(0, FRAMES, 4))
    outcome = stack.outcome(stack.submit(url, tmp_path / "labels", names=list(truth.spec.names)))
    assert outcome.state == "failed"
    assert sentence in outcome.error


def test_a_file_that_is_not_there(stack, good, tmp_path: Path):
    _, truth = good
    truth.write_labels(tmp_path / "labels", range(0, FRAMES, 4))
    outcome = stack.outcome(
        stack.submit("key:uploads/none.mp4", tmp_path / "labels", names=list(truth.spec.names))
    )
    assert outcome.state == "failed"
    assert "'uploads/none.mp4'" in outcome.error
