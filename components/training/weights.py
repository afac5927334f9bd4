"""The checkpoint that a training starts from. Import only after ``ultralytics_env.prepare()``."""

import pickle
from dataclasses import dataclass
from pathlib import Path

from ultralytics.nn.tasks import DetectionModel, load_checkpoint, yaml_model_load
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from components.errors import BadInput, NotFound, StepFailed
from components.registry.connection import shown_address
from components.training.registered_weights import PREFIX, fetch_weights, resolve

FROM_SCRATCH = "from scratch"


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        name: ``from scratch``, ``models:/mice/3``, or the checkpoint's file name.
        checkpoint: the file, checked; None from scratch.
        reason: why it is from scratch although a registered model was asked for, else empty.
    """

    name: str = FROM_SCRATCH
    checkpoint: Path | None = None
    reason: str = ""


def find_start(weights: str, model: str, work: Path, tracking_uri: str = "") -> Start:
    """The checkpoint to start from, checked to be of the architecture ``model``.

    It is loaded weights-only, so that no code in it runs. A registered model is a wish: where
    its checkpoint is not there or does not fit, the training is from scratch and says why.

    Args:
        weights: a local file, the name of a checkpoint that Ultralytics publishes,
            ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` for the checkpoint of a
            registered version's training run, or empty.
        model: the architecture, like ``yolo11n``.
        work: a folder for a download.
        tracking_uri: of the MLflow server with the registered models; empty: none.

    Raises:
        BadInput: if a file or published checkpoint is not there and cannot be downloaded,
            cannot be loaded, or is of another architecture.
        Unavailable: if the MLflow server does not answer.
    """
    if not weights:
        return Start()
    if weights.startswith(PREFIX):
        try:
            name, version = resolve(weights, tracking_uri)
            path = fetch_weights(name, version, work / "weights", tracking_uri)
            _check(path, weights, model)
        except (BadInput, NotFound, StepFailed) as error:
            # It is shown to the user, whom the server's address does not concern.
            return Start(reason=str(error).replace(f" at {shown_address(tracking_uri)}", ""))
        return Start(f"{PREFIX}{name}/{version}", path)
    path = _file(weights, work)
    _check(path, weights, model)
    return Start(path.name, path)


def _file(weights: str, work: Path) -> Path:
    path = Path(weights)
    if not path.is_file():
        path = _download(weights, work)
    elif path.suffix != ".pt":
        raise BadInput(f"The weights {weights} are no .pt file: give a checkpoint.")
    return path


def _download(weights: str, work: Path) -> Path:
    if weights not in GITHUB_ASSETS_NAMES:
        raise BadInput(
            f"The weights {weights} are neither a file here nor a published checkpoint: "
            "give a .pt file, a name like yolo11n.pt, or none to train from scratch."
        )
    target = work / weights
    try:
        attempt_download_asset(target)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"The weights {weights} are not here and cannot be downloaded ({error}): "
            "give a .pt file that is here, or none to train from scratch."
        ) from error
    if not target.is_file():
        raise BadInput(
            f"The weights {weights} are not here and cannot be downloaded: "
            "give a .pt file that is here, or none to train from scratch."
        )
    return target


def _check(path: Path, weights: str, model: str) -> None:
    try:
        loaded, _ = load_checkpoint(path)
    except (
        *(TypeError, RuntimeError, OSError, EOFError, ImportError, KeyError, AttributeError),
        pickle.UnpicklingError,
    ) as error:
        raise BadInput(
            f"The weights {weights} cannot be loaded as a checkpoint of Ultralytics: give another."
        ) from error
    # Ultralytics takes over what fits and says nothing of the rest.
    plan = yaml_model_load(f"{model}.yaml")
    layers = tuple(f"model.{index}." for index in range(len(plan["backbone"])))
    found = {name: value.shape for name, value in loaded.named_parameters()}
    for name, value in DetectionModel(plan, verbose=False).named_parameters():
        if name.startswith(layers) and found.get(name) != value.shape:
            raise BadInput(
                f"The weights {weights} are not of the architecture {model}: "
                "set the model that they belong to."
            )
