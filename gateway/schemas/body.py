"""What every request body has in common: strict, and storable as it is.

JSON can say more than a database can keep, see ``components.json_text``.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.json_text import check_storable
from gateway.work import Name

Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        description="a key below your own files",
        examples=["labels/mice"],
    ),
]
Place = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="a key below your own files, or an http, https or s3 URL",
        examples=["clips/mouse.mp4"],
    ),
]
UserId = Annotated[
    Name | None,
    Field(description="the key's own user, if given at all; an administrator may name any"),
]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any) -> Any:
        check_storable(data)
        return data
