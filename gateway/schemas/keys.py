"""API keys, as they are made and listed."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from gateway.schemas.body import Body
from gateway.work import Name


class KeyRequest(Body):
    """A key that is to be made."""

    user_id: Name = Field(description="whose it is to be", examples=["ada"])
    role: Literal["user", "admin"] = Field("user", description="an admin sees everybody's things")
    label: str = Field("", max_length=128, description="what it is for", examples=["lab laptop"])


class KeyInfo(BaseModel):
    """A key, without its text, which nobody has but its owner."""

    id: int
    user_id: str = Field(examples=["ada"])
    role: Literal["user", "admin"]
    label: str = Field(examples=["lab laptop"])
    prefix: str = Field(description="how its text begins", examples=["av_3kx9Qa"])
    created: datetime
    revoked: datetime | None = Field(description="null while it is valid")


class KeyCreated(KeyInfo):
    """A new key."""

    key: str = Field(description="its text: shown this once", examples=["av_3kx9Qa…"])


class KeyList(BaseModel):
    """A page of keys, the oldest first."""

    keys: list[KeyInfo]
    after: str | None = Field(description="where the next page begins; null on the last one")
    next: str | None = Field(description="the next page's address")
