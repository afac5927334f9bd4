"""What a training ended with, as it stands in its ``training.json``."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import BadInput, NotFound
from components.labels import LabelSpec
from components.training.settings import TrainingSettings

MODEL, RESULT, PLOTS = "model.pt", "training.json", "plots"


class TrainingResult(BaseModel):
    """The outcome of a training.

    ``metrics`` are those of ``model.pt`` on the held-out block, 0 to 1: ``precision``,
    ``recall``, ``mAP50`` and ``mAP50-95`` of the boxes, and for pose the same of the key points
    with ``pose_`` before them. A figure that is not a number is left out.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str = Field(description="the MLflow run; empty where the training was not tracked")
    spec: LabelSpec
    settings: TrainingSettings
    start: str = Field(
        "", description="from scratch, models:/NAME/VERSION, or a checkpoint's file name"
    )
    start_reason: str = Field(
        "", description="why it was from scratch although a registered model was asked for"
    )
    imgsz: int = Field(description="pixels, the long side")
    dataset_digest: str
    epochs: int = Field(description="epochs that ran; fewer than asked for after an early stop")
    best_epoch: int = Field(description="the one that model.pt comes from, from 1")
    metrics: dict[str, float]
    seconds: float


def read_training(folder: Path) -> TrainingResult:
    """The result of the training in ``folder``.

    Raises:
        NotFound: if there is none.
        BadInput: if it cannot be read.
    """
    path = Path(folder) / RESULT
    try:
        return TrainingResult.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"No finished training lies in {folder}: train first.") from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a training's result: train again.") from error
