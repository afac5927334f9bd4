"""Every event is told in plain words, with what matters of it."""

import pytest

from gateway.events import EventName
from gateway.notifications.messages import message

TASK = "t-1234"
DATA = {
    EventName.VIDEO_DOWNLOADED: {"file": "source.mp4", "bytes": 12_345_678},
    EventName.FRAMES_EXTRACTED: {"frames": 1200},
    EventName.LABELING_REQUESTED: {"project": "labeling/mice-t-1234", "frames": 1200},
    EventName.LABELING_COMPLETED: {"counts": {"images": 1200, "boxes": 2400}},
    EventName.MODEL_TRAINING_REQUESTED: {"step": "train"},
    EventName.MODEL_TRAINING_COMPLETED: {"epochs": 50, "metrics": {"mAP50": 0.91234}},
    EventName.MODEL_CONVERSION_REQUESTED: {"step": "export"},
    EventName.MODEL_CONVERSION_COMPLETED: {"frames": 20, "box_error": 0.125, "warning": "few"},
    EventName.MODEL_DEPLOYMENT_REQUESTED: {"model": "ada-mice", "version": 3},
    EventName.MODEL_DEPLOYED: {"model": "ada-mice", "version": 3},
    EventName.INFERENCE_REQUESTED: {"step": "analyse"},
    EventName.INFERENCE_COMPLETED: {"frames": 9000, "detections": 17_500, "identities": 2},
    EventName.RESULTS_UPLOADED: {"files": ["results.csv", "results.json"], "chunks": 9},
    EventName.STEP_FAILED: {"step": "train", "error": "The labels hold no box: label some."},
}
TOLD = {
    EventName.VIDEO_DOWNLOADED: ["File: source.mp4", "Size: 12.3 MB"],
    EventName.FRAMES_EXTRACTED: ["Frames: 1,200"],
    EventName.LABELING_REQUESTED: ["Project: labeling/mice-t-1234", "Frames: 1,200", "label them"],
    EventName.LABELING_COMPLETED: ["images: 1,200", "boxes: 2,400"],
    EventName.MODEL_TRAINING_COMPLETED: ["Epochs: 50", "mAP50: 0.9123"],
    EventName.MODEL_CONVERSION_COMPLETED: ["box_error: 0.125", "Note: few"],
    EventName.MODEL_DEPLOYED: ["Model: ada-mice", "Version: 3"],
    EventName.INFERENCE_COMPLETED: ["Frames: 9,000", "Detections: 17,500", "Identities: 2"],
    EventName.RESULTS_UPLOADED: ["results.csv, results.json", "Chunks: 9", f"results {TASK}"],
    EventName.STEP_FAILED: ["Step: train", "hold no box: label some.", "What to do"],
}


@pytest.mark.parametrize("name", list(EventName))
def test_every_event_has_its_words(name: EventName) -> None:
    title, body = message(name, TASK, DATA[name])
    assert title.endswith(f"({TASK})")
    assert name not in title, "told by its bare name"
    assert "\n" not in title
    assert body.startswith(f"Task: {TASK}")
    for told in TOLD.get(name, []):
        assert told in body
    assert "{" not in title + body


def test_frames_with_an_address_are_labelled_there() -> None:
    data = {"project": "7", "url": "http://127.0.0.1:8080/projects/7/data", "frames": 24}
    _, body = message(EventName.LABELING_REQUESTED, TASK, data)
    assert "Label them at: http://127.0.0.1:8080/projects/7/data" in body
    assert "Project: 7" not in body


def test_titles_differ() -> None:
    assert len({message(name, TASK, {})[0] for name in EventName}) == len(EventName)


@pytest.mark.parametrize("name", list(EventName))
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"bytes": None, "frames": None, "files": None, "counts": 3, "metrics": "none"},
        {"metrics": {"a": {"b": 1}, "c": True}, "counts": [], "files": "x", "bytes": "many"},
    ],
)
def test_what_is_missing_is_left_out(name: EventName, data: dict[str, object]) -> None:
    _, body = message(name, TASK, data)
    assert "None" not in body
    assert "True" not in body


def test_event_of_another_version_is_told_by_its_name() -> None:
    assert message("VIDEO_SUNG", TASK, {"pitch": 440}) == (f"VIDEO_SUNG ({TASK})", f"Task: {TASK}")


def test_size_is_told_in_a_fitting_unit() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 KB", 5 * 10**12: "5000.0 GB"}
    for count, told in sizes.items():
        assert f"Size: {told}" in message(EventName.VIDEO_DOWNLOADED, TASK, {"bytes": count})[1]


def test_error_stays_on_its_line() -> None:
    _, body = message(EventName.STEP_FAILED, TASK, {"error": "One\nTask: other\r\n three"})
    assert "Error: One Task: other three" in body.splitlines()
