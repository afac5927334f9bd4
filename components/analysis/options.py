"""What may be chosen of an analysis."""

from pydantic import BaseModel, ConfigDict, Field


class AnalysisOptions(BaseModel):
    """The choices of one analysis; those that change its results stand in its metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(0.25, ge=0, le=1, description="findings below it are left out")
    iou: float = Field(
        0.7, ge=0, le=1, description="two boxes of a class that overlap more are one"
    )
    batch_size: int = Field(8, ge=1, le=64, description="frames in one request to the model")
    chunk_frames: int = Field(500, ge=1, le=10_000, description="frames in one chunk file")
    frame_skip: int = Field(1, ge=1, description="analyse every n-th frame; 1 is all")
    max_frames: int | None = Field(None, ge=1, description="analyse at most so many frames")
    tracking: bool = Field(True, description="keep identities over time")
