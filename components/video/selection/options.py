"""How frames are to be chosen."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Strategy = Literal["uniform", "diverse", "motion", "uncertain", "active"]


class SelectionOptions(BaseModel):
    """One budget of frames, one distance in time, one strategy.

    The ranges are checked where frames are selected, so that a fault is told in a sentence.
    """

    model_config = ConfigDict(frozen=True)

    strategy: Strategy = Field(
        "uniform",
        description="uniform: evenly spread; diverse: unlike one another; motion: much "
        "change; uncertain: the model is least sure; active: uncertain and diverse in turns",
    )
    number: int = Field(description="frames to choose at most, 1 or more")
    min_seconds_apart: float | None = Field(
        None,
        description="least time between two chosen frames; by default a quarter of the "
        "distance at which they would be evenly spread",
    )
    seed: int = Field(0, description="decides between frames that are equally good")
    threshold: float = Field(
        0.25, description="score from which on something counts as found; near it is unsure"
    )
