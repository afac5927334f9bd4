"""Brings a local user's own files below their prefix of the storage, where tasks find them."""

import secrets
from pathlib import Path

from actverse.stack import USER
from components.errors import BadInput, BadLabels
from components.files import publish_file, publish_folder
from components.layout import Layout


def upload_file(layout: Layout, path: Path) -> str:
    """Bring one file to the storage; return its key.

    Raises:
        BadInput: if it is missing or not a file.
        StorageFull: when the disk is full.
    """
    if not path.is_file():
        raise BadInput(f"There is no file at {path}: give a path that exists.")
    key = f"uploads/{secrets.token_hex(6)}/{path.name}"
    publish_file(path, layout.user_file(USER, key))
    return key


def upload_folder(layout: Layout, path: Path) -> str:
    """Bring a folder to the storage; return its key.

    Raises:
        BadLabels: if it is missing or not a folder.
        StorageFull: when the disk is full.
    """
    if not path.is_dir():
        raise BadLabels(f"There is no label folder at {path}: give one that exists.")
    key = f"uploads/{secrets.token_hex(6)}/{path.resolve().name}"
    publish_folder(path, layout.user_file(USER, key))
    return key
