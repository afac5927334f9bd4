"""API keys: shown once, stored as a keyed hash.

A key is 32 random bytes, so a fast HMAC is enough: there is nothing to guess. The secret
that keys it lies outside the database, so that a stolen database opens nothing.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.errors import NotFound, Refused
from components.layout import checked_name
from components.settings import Settings
from gateway.database import open_database
from gateway.models import ApiKey, now

PREFIX = "av_"
_SHOWN = 9

Role = Literal["user", "admin"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as their key tells.

    Attributes:
        user_id: whose key it is.
        role: an admin sees and ends everybody's tasks.
        key_id: of the table ``api_keys``.
    """

    user_id: str
    role: Role
    key_id: int

    @property
    def scope(self) -> str | None:
        """The one user whose things the caller may see; None for an admin, who sees all."""
        return None if self.role == "admin" else self.user_id


def create_key(
    session: Session, settings: Settings, user_id: str, role: Role = "user", label: str = ""
) -> str:
    """Make and store a key for ``user_id``; the text is returned this once only."""
    return add_key(session, settings, user_id, role, label)[0]


def add_key(
    session: Session, settings: Settings, user_id: str, role: Role = "user", label: str = ""
) -> tuple[str, ApiKey]:
    """As ``create_key``, with the row that was stored."""
    key = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        user_id=user_id,
        role=role,
        label=label,
        prefix=key[:_SHOWN],
        digest=key_digest(settings, key),
    )
    session.add(row)
    session.flush()
    return key, row


def list_keys(
    session: Session, user_id: str | None, *, after: int = 0, limit: int = 50
) -> list[ApiKey]:
    """Keys, the oldest first, the revoked ones too.

    Args:
        user_id: whose; None for everybody's.
        after: the id of the last key of the page before.
        limit: at most so many.
    """
    query = select(ApiKey).where(ApiKey.id > after).order_by(ApiKey.id).limit(limit)
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    return list(session.scalars(query))


def revoke_key(session: Session, key_id: int, user_id: str | None) -> ApiKey:
    """End a key's validity; one that was revoked stays so.

    Args:
        user_id: only if it is that user's; None for anybody's.

    Raises:
        NotFound: also for another user's key, so that nobody learns which ids exist.
    """
    row = session.get(ApiKey, key_id)
    if row is None or (user_id is not None and row.user_id != user_id):
        raise NotFound(f"There is no key {key_id} of yours: look at the list of keys.")
    row.revoked = row.revoked or now()
    return row


def find_caller(session: Session, settings: Settings, key: str) -> Caller | None:
    """The caller that a key belongs to, or None if it is unknown or revoked."""
    row = _valid_key(session, settings, key)
    return Caller(row.user_id, cast(Role, row.role), row.id) if row else None


def ensure_admin_key(session: Session, settings: Settings, user_id: str, key: str) -> bool:
    """Make a user's valid key an admin's; False if it is unknown, revoked or somebody else's."""
    row = _valid_key(session, settings, key)
    if row is None or row.user_id != user_id:
        return False
    row.role = "admin"
    return True


def bootstrap_key(settings: Settings, user_id: str, *, again: bool = False) -> str:
    """The first admin's key, made by whoever has the database itself; shown this once only.

    Args:
        settings: with the gateway's own ``database_url`` and ``api_key_secret``.
        again: make one even if there is a valid admin's key already.

    Raises:
        BadInput: if ``user_id`` cannot be used.
        Refused: if there is a valid admin's key already, or no ``api_key_secret``.
    """
    checked_name(user_id, "user")
    valid = select(ApiKey).where(ApiKey.role == "admin", ApiKey.revoked.is_(None)).limit(1)
    with open_database(settings.database_url).begin() as session:
        if not again and (row := session.scalars(valid).one_or_none()):
            raise Refused(
                f"There is an admin's key already, {row.prefix}… of {row.user_id}: make more "
                "with it."
            )
        return create_key(session, settings, user_id, "admin", "bootstrap")


def key_digest(settings: Settings, key: str) -> str:
    """The keyed hash under which a key is stored, in hexadecimal.

    Raises:
        Refused: if there is no secret: the hashes would be anybody's to make.
    """
    secret = settings.api_key_secret.get_secret_value().encode()
    if not secret:
        raise Refused("ACTVERSE_API_KEY_SECRET is empty: set it, so that keys can be stored.")
    return hmac.new(secret, key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def _valid_key(session: Session, settings: Settings, key: str) -> ApiKey | None:
    digest = key_digest(settings, key)
    return session.scalars(
        select(ApiKey).where(ApiKey.digest == digest, ApiKey.revoked.is_(None))
    ).one_or_none()
