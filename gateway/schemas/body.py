"""What every request body has in common: strict, and storable as it is.

JSON can say more than a database can keep: PostgreSQL takes no null character and no
lone surrogate in its text, no NaN in its JSON, and columns hold 64 bits.
"""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
        # Not by recursion: who nests a thousand lists must not end our stack.
        rest = [data]
        while rest:
            value = rest.pop()
            if isinstance(value, dict):
                rest += [*value, *value.values()]
            elif isinstance(value, list | tuple):
                rest += value
            elif isinstance(value, str):
                if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
                    raise ValueError("a text holds a null character or half a character")
            elif isinstance(value, float):
                if not math.isfinite(value):
                    raise ValueError("a number is not finite")
            elif isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError("a number is too large")
        return data
