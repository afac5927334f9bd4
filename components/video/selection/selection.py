"""Which frames were chosen, and why, as it lies in a file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import BadInput, NotFound
from components.files import write_text
from components.video.selection.options import SelectionOptions

_NAME = "selection.json"


class SelectedFrame(BaseModel):
    """One chosen frame."""

    model_config = ConfigDict(frozen=True)

    index: int = Field(description="of the decoded frame, from 0")
    timestamp: float = Field(
        description="seconds from the first frame's; uniform, which decodes nothing, takes "
        "it from the mean rate"
    )
    strategy: str = Field(description="what chose it; for active: uncertain or diverse")
    score: float = Field(
        description="diverse: distance to the nearest frame chosen before; motion: change; "
        "uncertain: uncertainty; uniform: 0"
    )


class Selection(BaseModel):
    """The frames that were chosen from a video, by rising index."""

    model_config = ConfigDict(frozen=True)

    options: SelectionOptions
    fps: float
    frame_count: int
    frames: tuple[SelectedFrame, ...]
    note: str = Field("", description="why there are fewer than asked for, or no model was asked")

    def write(self, folder: Path) -> None:
        """Write ``selection.json`` into ``folder``, whole.

        Raises:
            StorageFull: when the disk is full.
        """
        write_text(folder / _NAME, self.model_dump_json(indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Selection":
        """The selection in ``folder``.

        Raises:
            NotFound: if there is none.
            BadInput: if the file is not one.
        """
        path = folder / _NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(f"No selection lies in {folder}: select frames first.") from error
        except ValidationError as error:
            raise BadInput(f"{path} is not a selection: select frames again.") from error
