"""The embedded stack's secrets: made at the first start, kept in files only their owner reads."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from components.files import whole_file


def _random_text() -> str:
    return secrets.token_urlsafe(32)


def embedded_secret(folder: Path, name: str, make: Callable[[], str] = _random_text) -> str:
    """The secret called ``name`` in ``folder``; made by ``make`` if it is not there yet."""
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(path, make())
    return path.read_text(encoding="ascii").strip()


def write_secret(path: Path, value: str) -> None:
    """Write a secret so that nobody but the owner can read it, at no moment."""
    with whole_file(path) as beside:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value)


def hex_token() -> str:
    """40 hexadecimal digits, as much as Django REST Framework's tokens hold."""
    return secrets.token_hex(20)


def fernet_key() -> str:
    """32 bytes in URL-safe base64, as Fernet keys are."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
