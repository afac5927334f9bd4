"""One training by Ultralytics. Import this only after ``ultralytics_env.prepare()``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.pose import PoseTrainer

from components.dataset.facts import DATA_YAML
from components.errors import BadInput, TrainingFailed
from components.files import link_or_copy
from components.labels import LabelSpec
from components.training.epochs import EpochLog
from components.training.metric_names import held_out_metrics
from components.training.settings import TrainingSettings

_MOST_THREADS = 8

# Settings that Ultralytics takes under the same name, as they are.
_SAME = (
    *("epochs", "imgsz", "batch", "seed", "workers", "patience", "optimizer", "lr0", "lrf"),
    *("cos_lr", "weight_decay", "warmup_epochs", "hsv_h", "hsv_s", "hsv_v", "degrees"),
    *("translate", "scale", "fliplr", "flipud", "mosaic", "close_mosaic", "plots"),
)


@dataclass(frozen=True)
class Outcome:
    """What Ultralytics left in its folder.

    Attributes:
        checkpoint: the best model.
        metrics: of the best model on the held-out block, by clean name.
        plots: pictures and results.csv.
    """

    checkpoint: Path
    metrics: dict[str, float]
    plots: tuple[Path, ...]


def run_ultralytics(
    dataset: Path,
    spec: LabelSpec,
    settings: TrainingSettings,
    checkpoint: Path | None,
    work: Path,
    log: EpochLog,
) -> Outcome:
    """Train in the folder ``work``, from a checked checkpoint or from scratch.

    Raises:
        BadInput: if the device cannot be used.
        TrainingFailed: if there is no model at the end, or the loss diverged.
    """
    # Ultralytics sets the whole process to one thread less than there are cores.
    threads_before = torch.get_num_threads()
    threads = settings.threads or min(len(os.sched_getaffinity(0)), _MOST_THREADS)

    def set_threads(_: Any) -> None:
        torch.set_num_threads(threads)

    trainer_class = PoseTrainer if spec.task == "pose" else DetectionTrainer
    try:
        trainer = trainer_class(overrides=_overrides(dataset, spec, settings, checkpoint, work))
        for event in ("on_train_start", "on_val_start"):
            trainer.add_callback(event, set_threads)
        for event, callback in log.callbacks().items():
            trainer.add_callback(event, callback)
        trainer.train()
    finally:
        torch.set_num_threads(threads_before)
    if not trainer.best.is_file():
        raise TrainingFailed("The training left no model: train again with more epochs.")
    folder = Path(trainer.save_dir)
    return Outcome(
        checkpoint=trainer.best,
        metrics=held_out_metrics(trainer.metrics),
        plots=tuple(
            sorted([*folder.glob("*.png"), *folder.glob("*.jpg"), *folder.glob("results.csv")])
        ),
    )


def _overrides(
    dataset: Path,
    spec: LabelSpec,
    settings: TrainingSettings,
    checkpoint: Path | None,
    work: Path,
) -> dict[str, Any]:
    """https://docs.ultralytics.com/usage/cfg/#train-settings"""
    device = _device(settings.device)
    overrides: dict[str, Any] = {name: getattr(settings, name) for name in _SAME}
    overrides |= {
        "model": f"{settings.model}{'-pose' if spec.task == 'pose' else ''}.yaml",
        "pretrained": str(checkpoint) if checkpoint else False,
        "data": str(_private_copy(dataset, work / "data")),
        "project": str(work),
        "name": "run",
        "exist_ok": True,
        "device": device,
        "nbs": settings.nbs or settings.batch,
        "cache": settings.cache or False,
        "freeze": settings.freeze or None,
        "deterministic": True,
        # The check of other kinds of mixed precision downloads a model.
        "amp": "bf16" if device.isdigit() and torch.cuda.is_bf16_supported() else False,
        "verbose": False,
    }
    if spec.task == "pose" and not spec.flip_idx:
        overrides |= {"fliplr": 0.0, "flipud": 0.0}
    return overrides


def _device(device: str) -> str:
    if not device:
        return "0" if torch.cuda.is_available() else "cpu"
    if device.isdigit() and int(device) >= torch.cuda.device_count():
        raise BadInput(
            f"There is no GPU {device} here, but {torch.cuda.device_count()} GPUs: "
            "set device to one of them, to cpu, or leave it empty."
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise BadInput("There is no mps device here: set device to cpu, or leave it empty.")
    return device


def _private_copy(dataset: Path, folder: Path) -> Path:
    """Lay the dataset out in ``folder``, where label caches may go; returns its data.yaml."""
    for source in dataset.rglob("*"):
        if source.is_file() and source.suffix != ".cache":
            link_or_copy(source, folder / source.relative_to(dataset))
    return folder / DATA_YAML
