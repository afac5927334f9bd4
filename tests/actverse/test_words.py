"""Figures and facts in a few words."""

from typing import Any

import pytest

from actverse import words


def step(**changes: Any) -> Any:
    plain = {
        **{"name": "extract", "state": "running", "percent": 0.0, "done": 0, "total": 0},
        **{"unit": "", "remaining_seconds": None, "attempt": 1, "started": None, "ended": None},
        **{"error": "", "facts": {}},
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("done", "total", "unit", "told"),
    [
        (12_345_678, 45_600_000, "bytes", "12.3/45.6 MB"),
        (999, 45_600_000_000, "bytes", "0.0/45.6 GB"),
        (12, 999, "bytes", "12/999 B"),
        (12_000, 0, "bytes", "12.0 kB"),
        (120, 360, "frames", "frames 120/360"),
        (120, 0, "frames", "frames 120"),
        (4, 12, "epochs", "epoch 4/12"),
        (3, 20, "labels", "labels 3/20"),
        (0, 20, "labels", "labels 0/20"),
        (0, 0, "frames", ""),
        (3, 20, "", ""),
    ],
)
def test_how_far_something_is_in_its_own_unit(done, total, unit, told):
    assert words.amount(done, total, unit) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (0.0, "about 1 s left"),
        (42.4, "about 42 s left"),
        (200, "about 3 min left"),
        (5400, "about 1.5 h left"),
    ],
)
def test_what_is_left(seconds, told):
    assert words.left(seconds) == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unit": "frames", "done": 3, "total": 9}, "frames 3/9"),
        (
            {
                **{"name": "train", "unit": "epochs", "done": 4, "total": 12},
                "facts": {"epoch": 4, "epochs": 12, "metrics": {"mAP50": 0.5, "loss": 1}},
            },
            "epoch 4/12, mAP50 0.500",
        ),
        (
            {
                **{"name": "train", "state": "succeeded"},
                "facts": {"metrics": {"mAP50": 0.5}, "start": "models:/mice/3", "start_reason": ""},
            },
            "mAP50 0.500; from models:/mice/3",
        ),
        (
            {
                **{"name": "train", "state": "succeeded"},
                "facts": {
                    **{"metrics": {"mAP50": 0.5}, "start": "from scratch"},
                    "start_reason": "There is no model.pt.",
                },
            },
            "mAP50 0.500; from scratch: There is no model.pt.",
        ),
        (
            {"name": "gate", "state": "succeeded", "facts": {"earned": False, "reason": "Less."}},
            "Less.",
        ),
        (
            {
                **{"name": "deploy", "state": "succeeded"},
                "facts": {"model": "mice", "version": 1, "promoted": False, "reason": "Less."},
            },
            "not promoted; mice version 1 serves on",
        ),
        ({"state": "pending", "error": "It broke."}, "to be tried again: It broke."),
        ({"state": "waiting", "error": "A typo."}, "to be mended: A typo."),
        ({"state": "failed", "error": "It broke."}, "It broke."),
        (
            {"name": "labeling", "facts": {"tool": "none: labels were given"}},
            "none: labels were given",
        ),
        (
            {
                **{"name": "labeling", "state": "succeeded"},
                "facts": {"tool": "folder", "project": "labeling/a-t-1", "frames": 20},
            },
            "20 frames in the folder labeling/a-t-1",
        ),
        (
            {
                **{"name": "labeling", "state": "succeeded"},
                "facts": {"tool": "label-studio", "project": "3", "url": "http://x/3", "frames": 2},
            },
            "2 frames at http://x/3",
        ),
        ({"name": "extract", "facts": {"frames": 9}}, "9 frames"),
        (
            {"name": "extract", "facts": {"frames": 9, "strategy": "active", "note": "9 of 12"}},
            "9 frames, chosen by active; 9 of 12",
        ),
        (
            {"name": "extract", "facts": {"frames": 9, "strategy": "labels were given"}},
            "9 frames that labels are named after",
        ),
        (
            {
                "name": "labels",
                "facts": {
                    **{"counts": {"images": 7, "objects": 8}, "skipped": 2},
                    "read_before": "It is away.",
                },
            },
            "8 objects in 7 images, 2 skipped; as last read, since It is away.",
        ),
        (
            {
                "name": "import_labels",
                "facts": {"images": 3, "objects": {"mouse": 4, "rat": 1}, "format": "coco"},
            },
            "3 images with 5 objects, from coco",
        ),
        (
            {
                "name": "preannotate",
                "facts": {
                    **{"model": "global", "version": 2, "objects": 9, "images": 4},
                    "left_out": {"dog": 3, "cat": 1},
                },
            },
            "9 objects in 4 frames, by global version 2; left out: 3 dog, 1 cat",
        ),
        ({"name": "bring", "facts": {"model": "global", "version": 2}}, "global version 2"),
        (
            {"name": "preannotate", "facts": {"model": "", "reason": "no global model is set"}},
            "not done: no global model is set",
        ),
        (
            {
                "name": "preannotate",
                "facts": {"model": "m", "version": 2, "images": 20, "objects": 31},
            },
            "31 objects in 20 frames, by m version 2",
        ),
        ({"name": "overlay", "facts": {"file": "a.mp4", "bytes": 2_345_678}}, "a.mp4, 2.3 MB"),
        ({"name": "analyse", "facts": {"model": "m"}}, ""),
        ({"name": "of another release", "facts": {"x": 1}}, ""),
    ],
)
def test_what_a_step_does(changes, told):
    assert words.what(step(**changes)) == told


def test_nothing_that_a_terminal_would_obey_is_left():
    assert words.plain("a\x1b[2J\x9b\r\nb\tc\u202e") == "a�[2J� b c�"
    assert words.what(step(state="failed", error="\x1b]0;x\x07")) == "�]0;x�"
