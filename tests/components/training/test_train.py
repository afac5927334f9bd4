import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components import ultralytics_env
from components.dataset.facts import read_dataset
from components.errors import BadInput, NotFound, TrainingFailed
from components.labels import LabelSpec
from components.training.result import read_training
from components.training.settings import TrainingSettings
from components.training.train import train

pytestmark = pytest.mark.slow

QUICK = TrainingSettings(epochs=2, imgsz=64, batch=4, device="cpu", threads=1, plots=False)


def _content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_detection_training_leaves_a_loadable_model_and_nothing_else(
    detect_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _content(detect_dataset)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = tmp_path / "log" / "task"
    (out / "data").mkdir(parents=True)
    calls: list[tuple[float, float, dict]] = []

    result = train(
        detect_dataset,
        out,
        QUICK.model_copy(update={"plots": True}),
        progress=lambda n, of, **f: calls.append((n, of, f)),
    )

    assert [call[:2] for call in calls] == [(1, 2), (2, 2)]
    assert calls[-1][2]["epoch"] == 2
    assert set(calls[-1][2]["metrics"]) == {"precision", "recall", "mAP50", "mAP50-95"}
    assert set(result.metrics) == {"precision", "recall", "mAP50", "mAP50-95"}
    assert (result.epochs, result.imgsz, result.run_id) == (2, 64, "")
    assert result.best_epoch in (1, 2)
    assert result.dataset_digest == read_dataset(detect_dataset).digest
    assert read_training(out) == result
    assert {path.name for path in out.iterdir()} == {"data", "model.pt", "training.json", "plots"}
    plots = {path.name for path in (out / "plots").iterdir()}
    assert {"results.png", "confusion_matrix.png", "labels.jpg", "BoxPR_curve.png"} <= plots
    assert [path.name for path in out.parent.iterdir()] == ["task"], "the work folder is gone"
    assert not list(elsewhere.iterdir())
    assert _content(detect_dataset) == before

    ultralytics_env.prepare()
    from ultralytics import YOLO

    model = YOLO(str(out / "model.pt"))
    assert (model.task, model.names) == ("detect", {0: "disc", 1: "square"})


def test_a_start_from_weights_is_not_forgotten_in_its_first_epoch(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """Steps as long as from scratch would leave nothing of what the weights knew."""
    dataset = make_dataset(frames=40)
    learned = train(dataset, tmp_path / "first", QUICK.model_copy(update={"epochs": 24}))
    assert learned.settings.lr0 == 0.002
    assert learned.metrics["mAP50"] > 0.8
    weights = str(tmp_path / "first" / "model.pt")
    again = QUICK.model_copy(update={"epochs": 1, "weights": weights})
    later = train(dataset, tmp_path / "second", again)
    assert later.settings.lr0 == 0.0005
    # It keeps nine tenths; with steps as long as from scratch, two.
    assert later.metrics["mAP50-95"] > 0.6 * learned.metrics["mAP50-95"]
    by_hand = again.model_copy(update={"lr0": 0.01})
    assert by_hand.with_lr0(from_weights=True).lr0 == 0.01


def test_pose_training_reports_boxes_and_key_points(pose_dataset: Path, tmp_path: Path) -> None:
    # The dataset is found where it was moved to.
    moved = tmp_path / "labels" / "images" / "moved"
    moved.parent.mkdir(parents=True)
    pose_dataset.rename(moved)
    try:
        result = train(moved, tmp_path / "out", QUICK.model_copy(update={"epochs": 1}))
    finally:
        moved.rename(pose_dataset)
    boxes = {"precision", "recall", "mAP50", "mAP50-95"}
    assert set(result.metrics) == boxes | {f"pose_{name}" for name in boxes}
    assert all(math.isfinite(value) for value in result.metrics.values())

    from ultralytics import YOLO

    model = YOLO(str(tmp_path / "out" / "model.pt"))
    assert model.task == "pose"
    assert model.model.kpt_shape == [3, 3]
    assert model.model.kpt_names == {0: ["head", "tail", "fin"]}


def test_equal_settings_give_equal_weights_and_another_seed_others(
    detect_dataset: Path, tmp_path: Path
) -> None:
    import torch

    ultralytics_env.prepare()
    from ultralytics.nn.tasks import load_checkpoint

    def weights(name: str, seed: int) -> torch.Tensor:
        settings = QUICK.model_copy(update={"epochs": 1, "seed": seed, "threads": 1})
        train(detect_dataset, tmp_path / name, settings)
        model, _ = load_checkpoint(tmp_path / name / "model.pt")
        return torch.cat([value.flatten() for value in model.parameters()])

    first = weights("a", 1)
    assert torch.equal(first, weights("b", 1))
    assert not torch.equal(first, weights("c", 2))


def test_training_starts_from_given_weights(detect_dataset: Path, tmp_path: Path) -> None:
    import torch

    ultralytics_env.prepare()
    from ultralytics.nn.tasks import load_checkpoint

    train(detect_dataset, tmp_path / "first", QUICK)
    still = {"weights": str(tmp_path / "first" / "model.pt"), "lr0": 1e-9, "epochs": 1}
    train(detect_dataset, tmp_path / "second", QUICK.model_copy(update=still))
    before, _ = load_checkpoint(tmp_path / "first" / "model.pt")
    after, _ = load_checkpoint(tmp_path / "second" / "model.pt")
    for ours, theirs in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("yolo11n.pt", "cannot be downloaded"),
        ("nobody.pt", "neither a file here nor a published checkpoint"),
        ("{tmp}/text.pt", "cannot be loaded"),
        ("{tmp}/text.txt", "no .pt file"),
        ("{tmp}/evil.pt", "cannot be loaded"),
    ],
)
def test_weights_that_cannot_be_used_are_named(
    weights: str, said: str, detect_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # No address answers, so that the download fails on every machine alike.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "text.txt").write_text("no checkpoint")
    torch.save({"model": _Evil(tmp_path / "harm")}, tmp_path / "evil.pt")
    settings = QUICK.model_copy(update={"weights": weights.format(tmp=tmp_path)})
    with pytest.raises(BadInput, match=said):
        train(detect_dataset, tmp_path / "out", settings)
    assert not (tmp_path / "harm").exists(), "the checkpoint's code ran"
    assert not (tmp_path / "out").exists()


class _Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self._path,)


def test_weights_of_another_architecture_are_refused(detect_dataset: Path, tmp_path: Path) -> None:
    ultralytics_env.prepare()
    from ultralytics import YOLO

    YOLO("yolov8n.yaml").save(tmp_path / "other.pt")
    settings = QUICK.model_copy(update={"weights": str(tmp_path / "other.pt")})
    with pytest.raises(BadInput, match="not of the architecture yolo11n"):
        train(detect_dataset, tmp_path / "out", settings)


def test_a_diverging_loss_is_said_and_an_older_model_stays(
    detect_dataset: Path, tmp_path: Path, poisoned_loss: None
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.pt").write_text("older")
    with pytest.raises(TrainingFailed, match="not a finite number in epoch 1: set lr0 below"):
        train(detect_dataset, tmp_path / "out", QUICK)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.pt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lack_of_memory_is_said(
    detect_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ultralytics_env.prepare()
    from ultralytics.utils.loss import v8DetectionLoss

    def too_large(*_: object) -> None:
        import torch

        torch.empty(2**60)

    monkeypatch.setattr(v8DetectionLoss, "__call__", too_large)
    with pytest.raises(TrainingFailed, match="memory did not suffice in epoch 1 of 2 with batch 4"):
        train(detect_dataset, tmp_path / "out", QUICK)


def test_time_limit_ends_after_the_epoch_in_which_it_passed(
    detect_dataset: Path, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"epochs": 50, "time_limit": 1e-6})
    assert train(detect_dataset, tmp_path / "out", settings).epochs == 1


def test_a_missing_dataset_or_gpu_is_named(detect_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No dataset lies in"):
        train(tmp_path, tmp_path / "out", QUICK)
    with pytest.raises(BadInput, match="There is no GPU 99 here"):
        train(detect_dataset, tmp_path / "out", QUICK.model_copy(update={"device": "99"}))


def test_held_out_frames_without_objects_do_not_break_the_training(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = make_dataset(LabelSpec(names=("disc",)))
    for label in (dataset / "labels" / "val").iterdir():
        label.write_text("")
    result = train(dataset, tmp_path / "out", QUICK.model_copy(update={"epochs": 1}))
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_data_yaml_names_no_folder_of_this_machine(pose_dataset: Path) -> None:
    data = yaml.safe_load((pose_dataset / "data.yaml").read_text())
    assert data == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "fish"},
        "kpt_shape": [3, 3],
        "kpt_names": {0: ["head", "tail", "fin"]},
        "flip_idx": [0, 1, 2],
    }
