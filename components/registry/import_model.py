"""A model that was trained elsewhere becomes a version, without a task of its own.

There is no dataset of it. Its proof are somebody's images: an ONNX file is tried out on them,
a checkpoint is exported and must find in them afterwards what it found before.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput, NotFound, StepFailed, TooLarge, disk_errors
from components.export.apart import export_apart
from components.export.parity import HeldOutFrame
from components.export.proof import gather_frames
from components.layout import checked_name
from components.parity_set import ParitySet
from components.registry.bring import check_names, check_suffix
from components.registry.connection import registry
from components.registry.import_run import WEIGHTS, import_run
from components.registry.register import ONNX_FILE, PARITY_FOLDER, register_model
from components.registry.trial import TrialLimits, try_out_apart
from components.served_model import ModelCard
from components.serving.check_apart import check_apart
from components.serving.onnx_file import MAX_BYTES
from components.settings import Settings
from components.steps import Progress, no_progress

_CHECKPOINT = ".pt"
ORIGIN_DIGEST_TAG, ASKED_IMGSZ_TAG = "origin.sha256", "origin.imgsz"
_UNKNOWN_DATASET = "unknown"
# MLflow takes no longer ones.
_MAX_PARAM = 6000


@dataclass(frozen=True)
class Imported:
    """A version that was made of a file, now or by an earlier import of the same one.

    Attributes:
        version: of the registered model.
        made: whether it was made now.
        frames: how many images it was proven on now.
    """

    version: int
    made: bool
    frames: int = 0


def _check_suffix(name: str) -> None:
    """Raise BadInput unless a file of this name can be a model that is imported."""
    if Path(name).suffix.lower() not in (_CHECKPOINT, ".onnx"):
        raise BadInput(
            f"{Path(name).name} is named neither as a checkpoint nor as an ONNX file: give one "
            "that ends in .pt or .onnx."
        )


def import_model(
    file: Path,
    images: Path,
    *,
    name: str,
    settings: Settings,
    imgsz: int | None = None,
    tags: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Imported:
    """Check a model file, make its parity set and register it under a run of its own.

    The same file under the same name, with the same ``imgsz``, gives the same version again.
    Nothing is registered of a file that is refused.

    Args:
        file: an ONNX file that keeps the contract of ``components/served_model.py``, or an
            Ultralytics checkpoint for detection or pose.
        images: a folder of images, or a video, that show what the model finds.
        name: the registered model; made if it is not there.
        settings: the MLflow server, and the environment of the process that exports.
        imgsz: of a checkpoint, long side of the input, pixels; as in its training if None.
        tags: more tags of the version and its run.
        progress: told of frames.

    Returns:
        The version.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it is no model that may be served, finds nothing in the images, or these
            cannot be used; TooLarge also.
        ParityFailed: if a checkpoint behaves otherwise once it is exported.
        StepFailed: if the export breaks.
        StorageFull: when the disk is full.
        Unavailable: if the MLflow server does not answer.
    """
    checked_name(name, "model name")
    _check_suffix(file.name)
    if not file.is_file():
        raise NotFound(f"There is no file {file}: upload it first.")
    if file.stat().st_size > MAX_BYTES:
        raise TooLarge(f"{file.name} is larger than {MAX_BYTES} bytes: give a smaller model.")
    checkpoint = file.suffix.lower() == _CHECKPOINT
    if imgsz and not checkpoint:
        raise BadInput(f"{file.name} says itself how large its input is: leave imgsz out.")
    uri = settings.mlflow_uri
    with (
        disk_errors("a copy of the model"),
        tempfile.TemporaryDirectory(prefix="actverse-import-") as folder,
    ):
        # What is checked is what is registered, whatever becomes of the file meanwhile.
        mine = Path(folder) / (WEIGHTS if checkpoint else file.name)
        shutil.copyfile(file, mine)
        with mine.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        origin = {ORIGIN_DIGEST_TAG: digest, ASKED_IMGSZ_TAG: str(imgsz or "")}
        if version := _earlier(name, origin, uri):
            return Imported(version, made=False)
        frames = gather_frames(images, Path(folder) / "frames")
        export = Path(folder) / "export"
        card = (
            _export(mine, file.name, export, imgsz, settings, progress)
            if checkpoint
            else _take(mine, frames, export, settings, progress)
        )
        given = {"origin": "imported", **(tags or {})}
        with import_run(
            name,
            tracking_uri=uri,
            params={
                "file": file.name,
                "imgsz": str(card.imgsz),
                "task": card.labels.task,
                "names": ",".join(card.labels.names)[:_MAX_PARAM],
            },
            tags=given,
            weights=mine if checkpoint else None,
        ) as run_id:
            version = register_model(
                export,
                name=name,
                run_id=run_id,
                tracking_uri=uri,
                metrics={},
                dataset_digest=_UNKNOWN_DATASET,
                tags={**given, **origin, "origin.file": file.name},
            )
        return Imported(version, made=True, frames=sum(not frame.half for frame in frames))


def _take(
    onnx: Path, frames: list[HeldOutFrame], export: Path, settings: Settings, progress: Progress
) -> ModelCard:
    """An ONNX file with its parity set, laid out as an export."""
    check_suffix(onnx)
    card = try_out_apart(
        onnx,
        frames,
        export / PARITY_FOLDER,
        of="the images",
        limits=TrialLimits.of(settings),
        progress=progress,
    )
    ParitySet.read(export / PARITY_FOLDER)
    onnx.rename(export / ONNX_FILE)
    return card


def _export(
    checkpoint: Path,
    file: str,
    export: Path,
    imgsz: int | None,
    settings: Settings,
    progress: Progress,
) -> ModelCard:
    """A checkpoint's export, made where no secret is, and checked as anybody's ONNX file."""
    try:
        export_apart(
            checkpoint,
            checkpoint.parent / "frames",
            export,
            imgsz=imgsz,
            environment=settings.environment(secrets=False),
            seconds=settings.model_trial_seconds,
            memory_bytes=settings.model_memory_bytes,
            progress=progress,
        )
        card = check_apart(export / ONNX_FILE)
        check_names(card, file)
        ParitySet.read(export / PARITY_FOLDER)
    except (BadInput, StepFailed) as error:
        raise type(error)(str(error).replace(str(checkpoint), file)) from error
    return card


def _earlier(name: str, origin: Mapping[str, str], tracking_uri: str) -> int:
    """The first version that was made of the same file in the same way; 0 if there is none."""
    with registry(tracking_uri, f"the model {name}") as client:
        found = client.search_model_versions(
            f"name = '{name}' and tags.`{ORIGIN_DIGEST_TAG}` = '{origin[ORIGIN_DIGEST_TAG]}'"
        )
    same = [
        int(one.version)
        for one in found
        if one.tags.get(ASKED_IMGSZ_TAG) == origin[ASKED_IMGSZ_TAG]
    ]
    return min(same, default=0)
