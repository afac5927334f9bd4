"""A user's own files."""

from datetime import datetime

from pydantic import BaseModel, Field


class OwnFile(BaseModel):
    """A file below one's own prefix."""

    key: str = Field(examples=["clips/mouse.mp4"])
    bytes: int
    modified: datetime


class OwnFileList(BaseModel):
    """A page of files, by key."""

    files: list[OwnFile]
    after: str | None = Field(description="where the next page begins; null on the last one")
    next: str | None = Field(description="the next page's address")


class Deleted(BaseModel):
    """What was deleted."""

    key: str
    files: int = Field(ge=1)
