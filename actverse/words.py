"""Steps, figures and moments in a few words, fit for a terminal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from actverse.answers import Step

MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("✗", "yellow"),
    "waiting": ("…", "yellow"),
    "running": ("›", "cyan"),
}
_SCALES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def plain(text: object) -> str:
    """Text without anything that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "�" for sign in " ".join(str(text).split()))


def size(count: float) -> str:
    """A number of bytes."""
    for scale, unit in _SCALES:
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def amount(done: float, total: float, unit: str) -> str:
    """How far something is, in its own unit; empty where nothing is counted."""
    if not unit or not (done or total):
        return ""
    if unit == "bytes":
        scale, name = next(((s, n) for s, n in _SCALES if max(done, total) >= s), (1.0, "B"))
        digits = 0 if scale == 1.0 else 1
        told = f"{done / scale:.{digits}f}"
        return f"{told}/{total / scale:.{digits}f} {name}" if total else f"{told} {name}"
    # "epoch 4/12", since it is in its fourth; but "frames 120/360".
    name = "epoch" if unit == "epochs" else unit
    return f"{name} {done:.0f}/{total:.0f}" if total else f"{name} {done:.0f}"


def left(seconds: float | None) -> str:
    """What is left, as far as it is known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"about {max(seconds, 1):.0f} s left"
    if seconds < 3600:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def moment(text: str | None) -> str:
    """A moment of ISO 8601 in local time."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def seconds(step: Step) -> str:
    """How long a step took; empty unless it has ended."""
    if not (step["started"] and step["ended"]):
        return ""
    took = datetime.fromisoformat(step["ended"]) - datetime.fromisoformat(step["started"])
    return f"{took.total_seconds():.1f}"


def what(step: Step) -> str:
    """What a step did or does, or what is wrong with it."""
    if step["error"]:
        meant = {"pending": "to be tried again: ", "waiting": "to be mended: "}
        return plain(meant.get(step["state"], "") + step["error"])
    counted = ""
    if step["state"] in ("running", "waiting"):
        counted = amount(step["done"], step["total"], step["unit"])
    try:
        said = _facts(step["name"], step["facts"])
    except (KeyError, TypeError, ValueError):
        said = ""  # it has not said everything yet
    return plain(", ".join(filter(None, [counted, said])))


def imported(facts: Mapping[str, Any]) -> str:
    """What an import of labels has brought."""
    objects = sum(facts["objects"].values())
    return f"{facts['images']} images with {objects} objects, from {facts['format']}"


def _chosen(facts: Mapping[str, Any]) -> str:
    told, strategy = f"{facts['frames']} frames", facts.get("strategy")
    if strategy == "labels were given":
        return f"{told} that labels are named after"
    by = f", chosen by {strategy}" if strategy else ""
    return told + by + (f"; {facts['note']}" if facts.get("note") else "")


def _facts(name: str, facts: Mapping[str, Any]) -> str:
    match name:
        case "download":
            return size(facts["bytes"])
        case "validate":
            return (
                f"{facts['frame_count']} frames, {facts['width']}x{facts['height']}, "
                f"{facts['fps']:.2f} fps, {facts['codec']}"
            )
        case "convert":
            return str(facts["reason"])
        case "extract":
            return _chosen(facts)
        case "preannotate":
            if not facts["model"]:
                return f"not done: {facts['reason']}"
            told = (
                f"{facts['objects']} objects in {facts['images']} frames, by {facts['model']} "
                f"version {facts['version']}"
            )
            left_out = ", ".join(
                f"{count} {name}" for name, count in facts.get("left_out", {}).items()
            )
            return told + (f"; left out: {left_out}" if left_out else "")
        case "labeling":
            if "project" not in facts:
                return str(facts["tool"])
            if url := facts.get("url"):
                return f"{facts['frames']} frames at {url}"
            return f"{facts['frames']} frames in the {facts['tool']} {facts['project']}"
        case "labels":
            counts = facts["counts"]
            told = f"{counts['objects']} objects in {counts['images']} images"
            skipped = f", {facts['skipped']} skipped" if facts.get("skipped") else ""
            lost = f"; as last read, since {facts['read_before']}" if "read_before" in facts else ""
            return told + skipped + lost
        case "import_labels":
            return imported(facts)
        case "dataset":
            told = f"{facts['train']} to train, {facts['held_out']} held out"
            return "; ".join([told, *facts.get("warnings", ())])
        case "train":
            metrics = {k: v for k, v in facts.get("metrics", {}).items() if "mAP50" in k}
            told = ", ".join(f"{key} {value:.3f}" for key, value in sorted(metrics.items()))
            start = facts.get("start", "")
            if reason := facts.get("start_reason"):
                return f"{told}; {start}: {reason}"
            return f"{told}; from {start}" if start not in ("", "from scratch") else told
        case "gate":
            return str(facts["reason"])
        case "deploy" if not facts.get("promoted", True):
            return f"not promoted; {facts['model']} version {facts['version']} serves on"
        case "export" if "file" in facts:
            return f"{facts['file']}, {size(facts['bytes'])}"
        case "parity" | "export":
            told = (
                f"{facts['matched']} findings matched, boxes within "
                f"{facts['box_error']:.2g} px, scores within {facts['score_error']:.2g}"
            )
            return "; ".join(filter(None, [told, facts.get("warning")]))
        case "register" | "bring" | "deploy":
            return f"{facts['model']} version {facts['version']}"
        case "analyse":
            return (
                f"{facts['detections']} detections of {facts['identities']} identities in "
                f"{facts['frames']} frames, {facts['frames_per_second']:.0f} frames/s"
            )
        case "csv" | "json" | "overlay" | "notebook":
            return f"{facts['file']}, {size(facts['bytes'])}"
        case "chunks":
            return f"{facts['chunks']} in {facts['file']}/"
        case "results":
            return ", ".join(facts["files"])
        case "deliver_video":
            return f"{facts['path']}, {size(facts['bytes'])}"
        case "deliver_frames":
            return f"{facts['frames']} frames in {facts['path']}/"
    return ""
