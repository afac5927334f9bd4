"""How every error is told."""

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="stable: urn:actverse:problem: and the error's name")
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="one sentence: what is wrong, and what to do")
