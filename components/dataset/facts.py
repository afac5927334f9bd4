"""What is to be known of a dataset, as it stands in its ``dataset.json``."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import BadInput, NotFound
from components.labels import LabelSpec

DATA_YAML, FACTS, SPLIT = "data.yaml", "dataset.json", "train_test_split.txt"


class DatasetFacts(BaseModel):
    """The facts of a dataset; equal content has equal facts, wherever and whenever it was made."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="SHA-256 of the spec and of each image and label, by name")
    spec: LabelSpec
    train: int = Field(description="images in the training block")
    held_out: int = Field(description="images in the held-out block")
    dropped: int = Field(description="labelled images in the gap between the two, in neither")
    pinned: bool = Field(False, description="whether an earlier round named the held-out images")
    unlabelled: int = Field(description="images without a label file, left out")
    objects: dict[str, dict[str, int]] = Field(
        description="labelled objects by split (train, held_out) and class name"
    )
    negatives: dict[str, int] = Field(description="images confirmed as empty, by split")
    leak: float = Field(description="see components.dataset.leak.split_leak")
    warnings: tuple[str, ...] = Field((), description="what may hurt the model, one sentence each")


def read_dataset(folder: Path) -> DatasetFacts:
    """The facts of the dataset in ``folder``.

    Raises:
        NotFound: if there is none.
        BadInput: if its facts cannot be read.
    """
    path = Path(folder) / FACTS
    try:
        return DatasetFacts.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"No dataset lies in {folder}: build one first.") from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a dataset's facts: build the dataset again.") from error
