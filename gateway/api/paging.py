"""Links to the next page of a listing."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many")]


def next_link(path: str, **parameters: str | int | Sequence[str] | None) -> str:
    """The address of a listing's page."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(given, doseq=True)}"
