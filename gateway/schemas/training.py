"""A training of its own, from labels that are there."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.body import Key, UserId
from gateway.schemas.learning import ClientTraining, Learning
from gateway.schemas.status import StepState


class TrainingRequest(Learning):
    """Labels that are to become a served model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "data_path": "labels/mice",
                    "mode_train_info": {"epochs": 60, "imgsz": 320},
                    "names": ["mouse"],
                }
            ]
        }
    )

    data_path: Key = Field(description="the key of a folder of labels with their images")
    mode_train_info: ClientTraining
    user_id: UserId = None


class TrainingStatus(BaseModel):
    """How far a training is."""

    task_id: str
    state: StepState
    current_epoch: int
    epochs: int = Field(description="0 until the training itself has begun")
    metrics: dict[str, float] = Field(description="of the latest epoch, in the end of the model")
    run_id: str = Field(description="of its pipeline run; empty until there is one")
    run_url: str = Field(description="the run's page in Kubeflow Pipelines; empty on one machine")
