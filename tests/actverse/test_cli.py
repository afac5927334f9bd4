"""The command line without a stack: help, and what it refuses before it starts one."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from actverse.sample import make_sample
from actverse.stack import find_running
from components.video.selection.selection import Selection

HEAVY = ("torch", "ultralytics", "mlflow", "kfp", "onnx", "cv2", "av", "fastapi", "sqlalchemy")
NOT_FOR_HELP = (*HEAVY, "httpx", "pydantic", "rich", "numpy", "yaml")


def _actverse(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from actverse.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "ACTVERSE_HOME": str(home)},
        check=False,
    )


def test_help_imports_nothing_heavy():
    out = _imported(
        "from actverse.cli import main; sys.argv = ['actverse', '--help']; main()", NOT_FOR_HELP
    )
    assert "Usage: actverse" in out
    assert out.strip().endswith("[]")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import actverse; actverse.__version__", NOT_FOR_HELP),
        ("import actverse; actverse.Client", (*HEAVY, "numpy", "pydantic", "yaml", "celery")),
        ("import actverse.task_commands, actverse.admin_commands", HEAVY),
    ],
)
def test_who_only_asks_a_gateway_imports_nothing_heavy(statement: str, heavy: tuple[str, ...]):
    assert _imported(statement, heavy).strip().endswith("[]")


def _imported(statement: str, modules: tuple[str, ...]) -> str:
    code = f"import sys\n{statement}\nprint([m for m in {modules!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return answer.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "{video}", "--labels", "{missing}"), "no labels at"),
        (("run", "{missing}", "--labels", "{folder}"), "no file"),
        (("run", "{video}", "--labels", "{folder}", "--epochs", "0"), "epochs"),
        (("run", "{video}", "--labels", "{folder}", "--held-out", "2"), "held_out"),
        (("run", "{video}", "--labels", "{folder}", "--model", "resnet"), "model"),
        (("submit", "{video}", "--labels", "{folder}"), "No stack runs"),
        (("tasks",), "No stack runs"),
        (("extract", "{missing}", "--out", "{folder}"), "missing"),
        (("labels", "t-0123456789ab"), "No stack runs"),
        (("train", "t-0123456789ab", "--now"), "No stack runs"),
    ],
)
def test_input_that_cannot_be_used_ends_at_once_with_a_sentence(tmp_path, arguments, sentence):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "frame_000000.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "a.mp4").write_bytes(b"x")
    places = {
        "video": tmp_path / "a.mp4",
        "missing": tmp_path / "missing",
        "folder": tmp_path / "labels",
    }
    home = tmp_path / "home"
    answer = _actverse(*(a.format(**places) for a in arguments), home=home)
    assert answer.returncode == 1
    assert answer.stderr.startswith("actverse: ")
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (home / "actverse.db").exists()


def test_a_task_that_fails_ends_the_command_with_its_sentence(stack, tmp_path: Path):
    video, labels = tmp_path / "clip.mp4", tmp_path / "labels"
    truth = make_sample(video, frames=12, wh=(64, 48))
    truth.write_labels(labels, range(12))
    (labels / "frame_000012.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    names = ",".join(truth.spec.names)
    answer = _actverse(
        *("run", str(video), "--labels", str(labels), "--names", names), home=stack.settings.home
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("actverse: The label frame_000012 belongs to no image")
    assert "labels" in answer.stdout
    assert find_running(stack.settings.home) is not None


def test_extracted_frames_bear_the_names_that_labels_need(tmp_path: Path):
    video, out = tmp_path / "clip.mp4", tmp_path / "frames"
    make_sample(video, frames=20, wh=(64, 48))
    answer = _actverse("extract", str(video), "--out", str(out), "--number", "4", home=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert sorted(path.stem for path in out.glob("*.jpg")) == [
        "frame_000002",
        "frame_000007",
        "frame_000012",
        "frame_000017",
    ]


def test_frames_are_extracted_by_a_strategy_that_needs_no_model(tmp_path: Path):
    video, out = tmp_path / "clip.mp4", tmp_path / "frames"
    make_sample(video, frames=60, wh=(64, 48))
    options = ("--number", "9", "--strategy", "motion", "--min-seconds-apart", "0.5")
    answer = _actverse("extract", str(video), "--out", str(out), *options, home=tmp_path)
    assert answer.returncode == 0, answer.stderr
    chosen = Selection.read(out)
    assert chosen.options.strategy == "motion"
    times = [frame.timestamp for frame in chosen.frames]
    assert min(b - a for a, b in pairwise(times)) >= 0.5
    assert f"{len(times)} of the 9 frames asked for" in answer.stdout
    assert len(list(out.glob("*.jpg"))) == len(times) > 1
    refused = _actverse(
        *("extract", str(video), "--out", str(out), "--strategy", "active"), home=tmp_path
    )
    assert (refused.returncode, "'active' is not one of" in refused.stderr) == (2, True)
