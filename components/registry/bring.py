"""A model file that a user brings becomes a version, like an export of a training.

There is no model.pt to hold it against. So the file itself is tried out on the held-out
frames of a task, and what it finds there becomes the parity set that its promotion is
probed with. That is done in a process with limits: ``components/registry/trial.py``.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from components.dataset.facts import read_dataset
from components.detections import Detections, compare
from components.errors import BadInput, NotFound, disk_errors
from components.export.export import PARITY_FRAMES
from components.export.parity import TOLERANCE, HeldOutFrame, held_out_frames, spread
from components.labels import LabelSpec
from components.letterbox import Letterbox
from components.onnx_model import ANSWER_SECONDS, OnnxModel
from components.parity_set import ParityFrame, ParitySet
from components.registry.register import ONNX_FILE, PARITY_FOLDER, register_model
from components.registry.tags import BROUGHT, ORIGIN_TAG
from components.registry.trial import TrialLimits, try_out_apart
from components.served_model import (
    BOXES,
    CLASSES,
    KEYPOINTS,
    MAX_DETECTIONS,
    SCORES,
    ModelCard,
    read_outputs,
)
from components.steps import Progress, no_progress, read_reports

_IOU = 0.7
_CONFIDENCES = (0.25, 0.1, 0.05, 0.01)
_MAX_INPUT = 4096
_PICKLED = frozenset({".pt", ".pth", ".ckpt", ".pkl"})


def register_file(
    onnx: Path,
    *,
    name: str,
    dataset: Path,
    run_id: str,
    tracking_uri: str,
    tags: Mapping[str, str],
    limits: TrialLimits | None = None,
    progress: Progress = no_progress,
) -> int:
    """Check a user's own ONNX file, make its parity set and register it.

    Registering the same file under the same name again gives the same version. Nothing is
    registered of a file that is refused.

    Args:
        onnx: the file, which keeps the contract of ``components/served_model.py``.
        name: the registered model; made if it is not there.
        dataset: of the task that the file is for: ``components/dataset`` wrote it. The file
            must know its classes and key points; its held-out frames are the proof.
        run_id: that task's training run, which the version is listed with.
        tracking_uri: http://host:port of the MLflow server.
        tags: more tags of the version.
        limits: what the file may take while it is tried out.
        progress: told of frames; what it raises ends the trial.

    Returns:
        The version.

    Raises:
        NotFound: if there is no such file, dataset or run.
        BadInput: if the file is no ONNX file that may be served, is for other classes or key
            points, does not keep the contract on real frames, or finds nothing in them.
        StorageFull: when the disk is full.
        Unavailable: if the server does not answer.
    """
    check_suffix(onnx)
    facts = read_dataset(dataset)
    frames = held_out_frames(dataset)
    with (
        disk_errors("a copy of the model"),
        tempfile.TemporaryDirectory(prefix="actverse-bring-") as folder,
    ):
        # What is checked is what is registered, whatever becomes of the user's own file.
        mine = Path(folder) / onnx.name
        shutil.copyfile(onnx, mine)
        export = Path(folder) / "export"
        try_out_apart(
            mine,
            frames,
            export / PARITY_FOLDER,
            of="the task's held-out frames",
            spec=facts.spec,
            limits=limits,
            progress=progress,
        )
        ParitySet.read(export / PARITY_FOLDER)
        mine.rename(export / ONNX_FILE)
        return register_model(
            export,
            name=name,
            run_id=run_id,
            tracking_uri=tracking_uri,
            # Those of the training are another model's.
            metrics={},
            dataset_digest=facts.digest,
            tags={**tags, ORIGIN_TAG: BROUGHT},
        )


def training_run(reports: Path) -> str:
    """The MLflow run of a training, from the folder of its pipeline's step reports.

    Raises:
        NotFound: if no training has ended there.
    """
    for report in read_reports(reports):
        if report.step == "train" and (run_id := report.facts.get("run_id")):
            return str(run_id)
    raise NotFound(f"No finished training has left its report in {reports}: train first.")


def check_suffix(onnx: Path) -> None:
    """Raise BadInput or NotFound unless this is a file that is named as an ONNX file."""
    suffix = onnx.suffix.lower()
    if suffix in _PICKLED:
        raise BadInput(
            f"{onnx.name} is not deployed as it is, since opening a {suffix} file can run code "
            "that it carries: export it to ONNX with actverse, train on from it, or import it "
            "(actverse models import), which exports it."
        )
    if suffix != ".onnx":
        raise BadInput(f"{onnx.name} is not named as an ONNX file: give one that ends in .onnx.")
    if not onnx.is_file():
        raise NotFound(f"There is no file {onnx}: upload it first.")


def check_labels(card: ModelCard, spec: LabelSpec, file: str) -> None:
    """Raise BadInput if a file is for other labels than a task's, or for too large an input."""
    of_file = (card.labels.task, card.labels.names, card.labels.keypoints)
    if of_file != (spec.task, spec.names, spec.keypoints):
        raise BadInput(
            f"{file} is for {_words(card.labels)}; the task's labels are for {_words(spec)}: "
            "give a model that was made for these."
        )
    check_size(card, file)


def check_names(card: ModelCard, file: str) -> None:
    """Raise BadInput if nobody can read a file's names, or if it is for too large an input."""
    check_size(card, file)
    for name in (*card.labels.names, *card.labels.keypoints):
        if not name.isprintable() or not name.strip():
            raise BadInput(
                f"{file} calls a class or key point {name!r}: give a model whose names can be read."
            )


def check_size(card: ModelCard, file: str) -> None:
    """Raise BadInput if a file wants a larger input than is served."""
    if max(card.imgsz, card.stride) > _MAX_INPUT:
        raise BadInput(
            f"{file} wants an input of {card.imgsz} pixels and a stride of {card.stride}, more "
            f"than the {_MAX_INPUT} allowed: give a model of a smaller input."
        )


def _words(spec: LabelSpec) -> str:
    points = f", key points {list(spec.keypoints)}" if spec.keypoints else ""
    return f"{spec.task}, classes {list(spec.names)}{points}"


def try_out(
    onnx: Path,
    frames: Sequence[HeldOutFrame],
    of: str,
    progress: Progress = no_progress,
    *,
    seconds: float = ANSWER_SECONDS,
) -> ParitySet:
    """Run a checked file on all frames, alone and in batches; keep a few as the proof.

    Those with findings are kept. The confidence is lowered while there are none, since that
    would prove nothing.

    Args:
        onnx: the file.
        frames: what it is tried out on.
        of: whose frames they are, as a sentence should call them.
        progress: told of frames.
        seconds: that one inference may take.

    Raises:
        BadInput: if it cannot be run, does not answer in time, does not keep the contract, or
            finds nothing in any.
    """
    served = OnnxModel(onnx, seconds=seconds)
    for confidence in _CONFIDENCES:
        telling: list[HeldOutFrame] = []
        for done, frame in enumerate(frames, start=1):
            image = frame.read()
            (found,) = _find(served, [image], confidence, onnx.name)
            for again in _find(served, [image, image], confidence, onnx.name):
                comparison = compare(found, again, confidence=confidence, tolerance=TOLERANCE)
                if not comparison.within(TOLERANCE):
                    raise BadInput(
                        f"{onnx.name} finds in {frame.name} one thing when asked for it alone and "
                        "another in a batch: give a model that keeps a batch's frames apart."
                    )
            if len(found) and not frame.half:
                telling.append(frame)
            progress(done, len(frames))
        if telling:
            return ParitySet(
                confidence,
                _IOU,
                tuple(
                    ParityFrame(image, _find(served, [image], confidence, onnx.name)[0])
                    for image in (frame.read() for frame in spread(telling, PARITY_FRAMES))
                ),
            )
    raise BadInput(
        f"{onnx.name} finds nothing in any of {of}, even at confidence {confidence:g}: give a "
        "model that was trained for such frames."
    )


def _find(
    served: OnnxModel, frames_bgr: Sequence[np.ndarray], confidence: float, file: str
) -> list[Detections]:
    height, width = frames_bgr[0].shape[:2]
    letterbox = Letterbox.of((width, height), served.card.imgsz, served.card.stride)
    images = np.stack([letterbox.apply(frame) for frame in frames_bgr])
    try:
        outputs = served.infer(images, confidence=confidence, iou=_IOU)
    except BadInput:
        raise
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise BadInput(
            f"{file} cannot be run on {len(images)} frames of {images.shape[2]} x "
            f"{images.shape[1]} pixels ({reason}): export it with actverse."
        ) from error
    if fault := _fault(outputs, served.card, len(images), confidence):
        raise BadInput(
            f"{file} does not keep the served model's contract: {fault}; export it with actverse."
        )
    return read_outputs(outputs, letterbox)


def _fault(outputs: Mapping[str, np.ndarray], card: ModelCard, n: int, confidence: float) -> str:
    """What of an answer to ``n`` frames breaks ``components/served_model.py``; empty if nothing."""
    most = outputs[SCORES].shape[1] if outputs[SCORES].ndim == 2 else 0
    expected = {
        BOXES: ("float32", (n, most, 4)),
        SCORES: ("float32", (n, most)),
        CLASSES: ("int32", (n, most)),
        KEYPOINTS: ("float32", (n, most, len(card.labels.keypoints), 3)),
    }
    for name in card.outputs:
        kind, shape = expected[name]
        array = outputs[name]
        if (array.dtype.name, array.shape) != (kind, shape):
            return f"{name} is {array.dtype.name} {array.shape} where {kind} {shape} is expected"
        if not np.isfinite(array).all():
            return f"{name} holds what is not a number"
    if most > MAX_DETECTIONS:
        return f"it gives {most} findings a frame where at most {MAX_DETECTIONS} are expected"
    scores, classes = outputs[SCORES], outputs[CLASSES]
    if (np.diff(scores, axis=1) > 0).any():
        return "the findings do not come best first"
    found = scores > 0
    if (scores < 0).any() or (scores > 1).any():
        return "a score lies outside 0 to 1"
    if (scores[found] < np.float32(confidence)).any():
        return "findings below the confidence that was asked for are not dropped"
    if ((classes < 0) | (classes >= len(card.labels.names)))[found].any():
        return "a finding is of a class that the file does not name"
    return ""
