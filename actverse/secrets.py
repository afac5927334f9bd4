"""The embedded stack's secrets: made at the first start, kept in files only their owner reads."""

import os
import secrets
from pathlib import Path

from components.files import whole_file


def embedded_secret(folder: Path, name: str, *, fernet: bool = False) -> str:
    """The secret called ``name`` in ``folder``; made if it is not there yet.

    Args:
        fernet: make it 32 bytes in URL-safe base64, as Fernet keys are.
    """
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        value = _fernet_key() if fernet else secrets.token_urlsafe(32)
        write_secret(path, value)
    return path.read_text(encoding="ascii").strip()


def write_secret(path: Path, value: str) -> None:
    """Write a secret so that nobody but the owner can read it, at no moment."""
    with whole_file(path) as beside:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value)


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
