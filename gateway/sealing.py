"""Secrets that have to be read again, sealed before they are stored.

A stolen database opens none of them: the key is derived from ``api_key_secret``, which lies
outside it. Who changes that secret has to give them anew, as with the API keys.
"""

import base64
import functools
from typing import TYPE_CHECKING

from components.errors import Refused
from components.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_PURPOSE = b"actverse: notification addresses, 1"


def seal(settings: Settings, text: str) -> str:
    """Encrypt a text; the same one looks different each time.

    Raises:
        Refused: if there is no secret to seal it with.
    """
    return _cipher(settings.api_key_secret.get_secret_value()).encrypt(text.encode()).decode()


def unseal(settings: Settings, sealed: str) -> str:
    """The text that was sealed.

    Raises:
        Refused: if it was sealed with another secret, or changed since.
    """
    from cryptography.fernet import InvalidToken

    try:
        cipher = _cipher(settings.api_key_secret.get_secret_value())
        return cipher.decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Refused(
            "It was stored under another ACTVERSE_API_KEY_SECRET: store it anew, or set that again."
        ) from error


@functools.lru_cache(maxsize=2)
def _cipher(secret: str) -> "Fernet":
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if not secret:
        raise Refused("ACTVERSE_API_KEY_SECRET is empty: set it, so that secrets can be stored.")
    key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
