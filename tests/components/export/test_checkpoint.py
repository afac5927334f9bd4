"""A checkpoint that somebody brings, exported in a process of its own."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from components.errors import BadInput, StepFailed
from components.export.apart import export_apart
from components.export.checkpoint import export_checkpoint
from components.export.reference import describe_checkpoint
from components.labels import LabelSpec
from components.onnx_model import OnnxModel
from components.parity_set import ParitySet
from components.settings import Settings
from tests.helpers.checkpoints import IMGSZ, SPECS, held_out_frame, write_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("proof") / "frames"
    folder.mkdir()
    for number in range(3):
        image = held_out_frame(901 + number, (160, 120))
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return Settings(home=tmp_path / "home").environment(secrets=False)


@pytest.fixture
def export(frames: Path, tmp_path: Path, environment: dict[str, str]):
    def run(checkpoint: Path, **choices: Any) -> Path:
        out = tmp_path / "work" / "export"
        out.parent.mkdir(exist_ok=True)
        given = {"imgsz": None, "environment": environment, **choices}
        export_apart(checkpoint, frames, out, **given)
        return out

    return run


def resaved(checkpoint: Path, target: Path, **attributes: Any) -> Path:
    """The checkpoint with other attributes of its model."""
    content = torch.load(checkpoint, weights_only=False)
    for name, value in attributes.items():
        setattr(content["model"], name, value)
    torch.save(content, target)
    return target


def test_it_is_exported_with_what_it_says_of_itself_and_a_proof(
    checkpoints: dict[str, Path], export, tmp_path: Path
):
    named = {i: ["nose", "tail base"] for i in range(2)}
    told = []
    model_pt = resaved(checkpoints["pose"], tmp_path / "animals.pt", kpt_names=named)
    out = export(model_pt, progress=lambda done, total: told.append((done, total)))
    card = OnnxModel(out / "model.onnx").card
    assert card.imgsz == IMGSZ
    assert card.labels == LabelSpec(
        task="pose", names=SPECS["pose"].names, keypoints=("nose", "tail base")
    )
    proof = ParitySet.read(out / "parity_set")
    assert len(proof.frames) == 3
    assert any(len(frame.expected) for frame in proof)
    assert told
    assert told[-1][1] == 3


def test_the_size_of_the_input_can_be_asked_for(checkpoints: dict[str, Path], frames, tmp_path):
    exported = export_checkpoint(checkpoints["detect"], frames, tmp_path / "out", imgsz=150)
    assert exported.card.imgsz == 160


def test_key_points_without_names_are_numbered(checkpoints: dict[str, Path]):
    facts = describe_checkpoint(checkpoints["pose"])
    assert facts.spec.keypoints == ("0", "1")
    assert facts.imgsz == IMGSZ


def test_the_process_is_given_no_secret(
    checkpoints: dict[str, Path], export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What it is started as writes down the environment that it finds."""
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\nexit 1\n")
    spy.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(spy))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-store")
    settings = Settings(
        home=tmp_path, api_key_secret="a-secret-of-keys", webhook_secret="a-secret-of-hooks"
    )
    with pytest.raises(StepFailed, match="ended with 1"):
        export(checkpoints["detect"], environment=settings.environment(secrets=False))
    seen = (tmp_path / "seen").read_text()
    assert "ACTVERSE_HOME" in seen
    assert "a-secret-of" not in seen


class _Writes:
    """Makes a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_that_a_checkpoint_carries_never_runs(
    checkpoints: dict[str, Path], export, tmp_path: Path
):
    ran = tmp_path / "ran"
    evil = resaved(checkpoints["detect"], tmp_path / "evil.pt", note=_Writes(ran))
    torch.load(evil, weights_only=False)
    assert ran.exists(), "the trap does not work"
    ran.unlink()
    with pytest.raises(BadInput, match=r"evil\.pt cannot be loaded as a trained model"):
        export(evil)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(_Writes(ran), protocol=2))
    with pytest.raises(BadInput, match=r"plain\.pt cannot be loaded"):
        export(plain)
    assert not ran.exists()
    assert not (tmp_path / "work" / "export").exists()


def _torchscript(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def _weights_only(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def _cut_off(path: Path) -> None:
    torch.save({"model": torch.nn.Linear(400, 400)}, path)
    path.write_bytes(path.read_bytes()[:4000])


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no checkpoint")


@pytest.mark.parametrize("write", [_torchscript, _weights_only, _cut_off, _other_zip])
def test_what_is_no_checkpoint_is_refused(write, tmp_path: Path):
    path = tmp_path / "mine.pt"
    write(path)
    with pytest.raises(BadInput, match=r"mine\.pt cannot be loaded as a trained model"):
        describe_checkpoint(path)


@pytest.mark.parametrize(("kind", "task"), [("seg", "segment"), ("cls", "classify")])
def test_a_model_of_another_task_is_refused(kind: str, task: str, tmp_path: Path):
    from ultralytics.nn.tasks import ClassificationModel, SegmentationModel

    made = {"seg": SegmentationModel, "cls": ClassificationModel}[kind]
    model = made(f"yolo11n-{kind}.yaml", nc=2, verbose=False)
    model.names = {0: "a", 1: "b"}
    torch.save({"model": model.half(), "train_args": {"task": task}}, tmp_path / "mine.pt")
    with pytest.raises(BadInput, match=f"model of the task {task}"):
        describe_checkpoint(tmp_path / "mine.pt")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [({0: "a", 1: "a"}, "repeat"), ({}, "at least one class"), (None, "does not say what it")],
)
def test_a_checkpoint_whose_names_are_of_no_use_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, names: Any, sentence: str
):
    path = resaved(checkpoints["detect"], tmp_path / "mine.pt", names=names)
    with pytest.raises(BadInput, match=sentence):
        describe_checkpoint(path)


def test_one_that_finds_nothing_proves_nothing(frames: Path, tmp_path: Path):
    blind = write_checkpoint(tmp_path / "blind.pt", "yolo11n", above=1e-6)
    with pytest.raises(BadInput, match=r"blind\.pt finds nothing in any of the 3 images"):
        export_checkpoint(blind, frames, tmp_path / "out")


def test_one_that_takes_too_long_is_ended(checkpoints: dict[str, Path], export, tmp_path: Path):
    with pytest.raises(BadInput, match=r"within 0\.1 s"):
        export(checkpoints["detect"], seconds=0.1)
    assert not _processes(tmp_path)


def test_whoever_stops_it_stops_the_process(checkpoints: dict[str, Path], export, tmp_path: Path):
    def stop(done: float, total: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        export(checkpoints["detect"], progress=stop)
    assert not _processes(tmp_path)


def test_a_process_that_breaks_is_told_of(export, checkpoints: dict[str, Path], tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    shutil.rmtree(tmp_path / "broken", ignore_errors=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnx.py").write_text("raise SystemExit(9)")
    with pytest.raises(StepFailed, match="the process ended with 9"):
        export(checkpoints["detect"], environment=environment)


def _processes(folder: Path) -> list[str]:
    import psutil

    lines = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    return [line for line in lines if str(folder) in line]
