"""The places that clients name: keys below their own prefix of the storage, and URLs."""

from urllib.parse import urlsplit

from components.errors import BadInput, NotFound, Refused
from components.layout import checked_name
from components.storage import Storage
from components.storage_keys import checked_key
from components.video.source import is_url
from gateway.work import Work

_SCHEMES = ("http", "https", "s3")


def prefix_of(user_id: str) -> str:
    """The storage key of a user's own folder."""
    return f"users/{checked_name(user_id, 'user id')}"


def own_key(storage: Storage, user_id: str, key: str) -> str:
    """The storage key of a user's own file or folder, which need not be there.

    Raises:
        Refused: if the key is malformed or leads out of the user's own folder.
    """
    own = f"{prefix_of(user_id)}/{checked_key(key.removesuffix('/'))}"
    storage.path_of(own)  # follows the links in it
    return own


def check_file(storage: Storage, user_id: str, key: str) -> None:
    """Raise NotFound unless the user has such a file."""
    if storage.stat(own_key(storage, user_id, key)) is None:
        raise NotFound(f"There is no file {key!r} among yours: upload it first.")


def check_folder(storage: Storage, user_id: str, key: str) -> None:
    """Raise NotFound unless the user has a folder of that key with a file in it."""
    if not _is_folder(storage, own_key(storage, user_id, key)):
        raise NotFound(f"There is no folder {key!r} among yours: upload files into it first.")


def check_file_or_folder(storage: Storage, user_id: str, key: str) -> None:
    """Raise NotFound unless the user has a file of that key, or a folder with a file in it."""
    own = own_key(storage, user_id, key)
    if storage.stat(own) is None and not _is_folder(storage, own):
        raise NotFound(f"There is no file or folder {key!r} among yours: upload it first.")


def check_labels(storage: Storage, user_id: str, key: str) -> None:
    """Raise NotFound unless the user has a file, or a folder with files, of this key."""
    own = own_key(storage, user_id, key)
    if storage.stat(own) is None and not _is_folder(storage, own):
        raise NotFound(f"There are no labels {key!r} among your files: upload them first.")


def check_source(storage: Storage, user_id: str, place: str) -> None:
    """See that a video can be fetched from a place, as far as that is known at once.

    Raises:
        NotFound: if it is a key and the user has no such file.
        Refused, BadInput: if it is a URL that will not be fetched.
    """
    if is_url(place):
        check_url(place)
    else:
        check_file(storage, user_id, place)


def check_url(url: str) -> None:
    """Refuse at once what the outbound guard would refuse later in any case."""
    try:
        parts = urlsplit(url)
        host, credentials = parts.hostname, parts.username or parts.password
    except ValueError as error:
        raise BadInput("The address is not a URL: give one like https://host/file.") from error
    if parts.scheme.lower() not in _SCHEMES:
        raise Refused(f"Addresses of scheme {parts.scheme!r} are not fetched: give http or https.")
    if not host:
        raise BadInput("The URL names no host: give one like https://host/file.")
    if credentials:
        raise Refused(f"The URL to {host} holds credentials: give one that needs none.")


def check_target(storage: Storage, user_id: str, key: str) -> None:
    """See that a file of this key can be written.

    Raises:
        Refused: if the key is malformed, leads outside or hides what is written.
        BadInput: if there is a folder of this key.
    """
    own = own_key(storage, user_id, key)
    if any(name.startswith(".") for name in key.split("/")):
        raise Refused(f"{key!r} has a name that begins with a dot: give another name.")
    if _is_folder(storage, own):
        raise BadInput(f"{key!r} is a folder: give the file another name.")


def check_work(storage: Storage, user_id: str, work: Work) -> None:
    """Raise Refused or BadInput if a place in a task's work can never be read."""
    for key in work.storage_keys():
        own_key(storage, user_id, key)
    if is_url(work.file_path):
        check_url(work.file_path)


def _is_folder(storage: Storage, key: str) -> bool:
    return any(True for _ in storage.files(key, limit=1))
