"""API keys: shown once, stored as a keyed hash.

A key is 32 random bytes, so a fast HMAC is enough: there is nothing to guess. The secret
that keys it lies outside the database, so that a stolen database opens nothing.
"""

import hashlib
import hmac
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.settings import Settings
from gateway.models import ApiKey

PREFIX = "av_"


def create_key(session: Session, settings: Settings, user_id: str) -> str:
    """Make and store a key for ``user_id``; the text is returned this once only."""
    key = PREFIX + secrets.token_urlsafe(32)
    session.add(ApiKey(user_id=user_id, prefix=key[:9], digest=_digest(settings, key)))
    return key


def find_user(session: Session, settings: Settings, key: str) -> str | None:
    """The user that a key belongs to, or None if it is unknown or revoked."""
    query = select(ApiKey).where(ApiKey.digest == _digest(settings, key), ApiKey.revoked.is_(None))
    found = session.scalars(query).one_or_none()
    return found.user_id if found else None


def _digest(settings: Settings, key: str) -> str:
    secret = settings.api_key_secret.get_secret_value().encode()
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()
