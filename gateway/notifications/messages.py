"""What a notification says of an event: a title of one line, and a body in plain text."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.events import EventName

Data = Mapping[str, Any]

_MAX_FIGURES = 12


def message(name: str, task_id: str, data: Data) -> tuple[str, str]:
    """The title and the body that tell a person of an event.

    Args:
        name: of `EventName`; any other is told by its name alone.
        task_id: the task's.
        data: of the event; what is missing is left out.
    """
    happened, tell, what_next = _WORDS.get(name, (name, _nothing, ""))
    lines = [f"Task: {task_id}", *tell(data)]
    if what_next:
        lines += ["", what_next.replace("{task_id}", task_id)]
    return f"{happened} ({task_id})", "\n".join(lines)


def _nothing(data: Data) -> list[str]:
    return []


def _video(data: Data) -> list[str]:
    count = data.get("bytes")
    size = [f"Size: {_size(count)}"] if isinstance(count, (int, float)) else []
    return _line(data, "file", "File") + size


def _frames(data: Data) -> list[str]:
    return _line(data, "frames", "Frames")


def _labeling(data: Data) -> list[str]:
    # A project is a folder of the user's, or has an address where people label.
    where = _line(data, "url", "Label them at") or _line(data, "project", "Project")
    return where + _frames(data)


def _labels(data: Data) -> list[str]:
    return _figures(data.get("counts"), "Labels")


def _training(data: Data) -> list[str]:
    epochs = _line(data, "epochs", "Epochs")
    return epochs + _figures(data.get("metrics"), "On the held-out frames")


def _conversion(data: Data) -> list[str]:
    lines = _line(data, "frames", "Compared on frames") + _line(data, "warning", "Note")
    return lines + _figures({name: data.get(name) for name in _PARITY}, "Greatest differences")


def _model(data: Data) -> list[str]:
    return _line(data, "model", "Model") + _line(data, "version", "Version")


def _inference(data: Data) -> list[str]:
    return [
        *_model(data),
        *_frames(data),
        *_line(data, "detections", "Detections"),
        *_line(data, "identities", "Identities"),
        *_line(data, "frames_per_second", "Frames per second"),
    ]


def _results(data: Data) -> list[str]:
    files = data.get("files")
    names = [str(file) for file in files] if isinstance(files, (list, tuple)) else []
    told = [f"Files: {', '.join(names)}"] if names else []
    return told + _line(data, "chunks", "Chunks")


def _failure(data: Data) -> list[str]:
    return _line(data, "step", "Step") + _line(data, "error", "Error")


_PARITY = ("box_error", "score_error", "keypoint_error")

_Words = tuple[str, Callable[[Data], list[str]], str]
_WORDS: dict[str, _Words] = {
    EventName.VIDEO_DOWNLOADED: ("The video has been downloaded", _video, ""),
    EventName.FRAMES_EXTRACTED: ("Frames have been picked from the video", _frames, ""),
    EventName.LABELING_REQUESTED: (
        "Frames wait for labels",
        _labeling,
        "What to do: label them; the training begins when all are labelled.",
    ),
    EventName.LABELING_COMPLETED: ("The labels are complete", _labels, ""),
    EventName.MODEL_TRAINING_REQUESTED: ("The training of the model begins", _training, ""),
    EventName.MODEL_TRAINING_COMPLETED: ("The model has been trained", _training, ""),
    EventName.MODEL_CONVERSION_REQUESTED: (
        "The conversion of the model to ONNX begins",
        _conversion,
        "",
    ),
    EventName.MODEL_CONVERSION_COMPLETED: (
        "The model has been converted to ONNX and behaves the same",
        _conversion,
        "",
    ),
    EventName.MODEL_DEPLOYMENT_REQUESTED: ("The model is about to be served", _model, ""),
    EventName.MODEL_DEPLOYED: ("The model is served", _model, ""),
    EventName.INFERENCE_REQUESTED: ("The analysis of the video begins", _model, ""),
    EventName.INFERENCE_COMPLETED: ("The video has been analysed", _inference, ""),
    EventName.RESULTS_UPLOADED: (
        "The results are ready",
        _results,
        "What to do: fetch them, with `actverse results {task_id}` for example.",
    ),
    EventName.STEP_FAILED: (
        "A step has failed",
        _failure,
        "What to do: follow the error's advice, then give the task again.",
    ),
}


def _line(data: Data, key: str, label: str) -> list[str]:
    value = data.get(key)
    return [f"{label}: {_told(value)}"] if value not in (None, "") else []


def _figures(values: Any, label: str) -> list[str]:
    if not isinstance(values, Mapping):
        return []
    told = [(name, value) for name, value in values.items() if _is_number(value)]
    lines = [f"  {name}: {_told(value)}" for name, value in told[:_MAX_FIGURES]]
    return [f"{label}:", *lines] if lines else []


def _told(value: Any) -> str:
    if not _is_number(value):
        return " ".join(str(value).split())
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
