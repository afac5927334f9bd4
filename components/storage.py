"""The storage: a folder, or a prefix of an S3 bucket. Nothing else knows which it is.

Steps work on local files. Before one reads, it lets the storage ``bring`` them; when it
has written, it lets the storage ``keep`` them. With a folder as the storage both do
nothing, since the local files are the storage. With S3 the local files are a working
copy. What others should see at once goes through ``write``, ``read`` and ``link``.

A single file appears whole or not at all, and a reader never sees half of one. A folder
is kept and brought file by file: who needs it whole writes its last file last, or looks
for it only after the step that keeps it has ended.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components import storage_keys
from components.errors import BadInput, Unavailable
from components.layout import Layout
from components.settings import Settings
from components.steps import Progress, no_progress


@dataclass(frozen=True)
class StoredFile:
    """A file as the storage lists it.

    Attributes:
        key: '/'-separated, relative to the root.
        bytes: its size.
        modified: when it was written, UTC.
        checksum: S3's entity tag, which changes with the content; empty for a folder.
    """

    key: str
    bytes: int
    modified: datetime
    checksum: str = ""


Writing = Generator[None, bytes, StoredFile]
"""What ``Storage.writing`` is."""


class Storage(ABC):
    """One root. Safe to share between threads; a forked process opens its own.

    Every method raises Refused for a key or path that is malformed or leads outside the
    root, and Unavailable when the storage does not answer, with what to do about it.

    Attributes:
        layout: the local folders: the storage itself, or the working copy of S3.
        is_copied: whether they are a working copy.
    """

    is_copied = False

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @abstractmethod
    def working_in(self, folder: Path) -> "Storage":
        """The same storage, its working copy in another folder; without one it is itself."""

    def key_of(self, path: Path) -> str:
        """The key of a local path below ``layout.root``."""
        return storage_keys.key_of(self.layout.root, path)

    def path_of(self, key: str) -> Path:
        """The local path of a key; whether a file is there is ``bring``'s to say."""
        return storage_keys.path_of(self.layout.root, key)

    @abstractmethod
    def stat(self, key: str) -> StoredFile | None:
        """The file of this key; None if there is none (a folder is none)."""

    @abstractmethod
    def files(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> Iterator[StoredFile]:
        """The files below a folder, sorted by key, read as they are asked for.

        Temporaries (names that begin with a dot) and names that can be no key are left out.

        Args:
            prefix: the folder's key; empty for the whole storage.
            after: only keys greater than this one, which need not exist.
            limit: the greatest number of files.
        """

    @abstractmethod
    def bring(self, path: Path, progress: Progress = no_progress, *, exact: bool = False) -> Path:
        """Make the file or folder at this local path be there as the storage has it.

        A local file that differs is replaced; one that is the same is not fetched again.

        Args:
            path: a local path below ``layout.root``.
            progress: told of bytes, from the calling thread; what it raises stops the
                transfer. A folder as the storage tells nothing.
            exact: of a brought folder, remove the local files that the storage does not
                have. Not by default: they may be results that were not kept yet.

        Raises:
            NotFound: if the storage has neither a file nor a folder there. S3 knows no
                empty folders.
            Unavailable: also when what came has not the checksum that it was sent with.
            StorageFull: when the local disk is full.
        """

    @abstractmethod
    def keep(self, path: Path, progress: Progress = no_progress) -> None:
        """Make what lies at this local path durable in the storage.

        What the storage has already is not sent again. A folder takes the place of the
        one in the storage: what is not there locally is deleted, after all else was
        sent. So only a step that made a folder, or brought it first, may keep it;
        others keep their own files. Temporaries are not kept.

        Args:
            path: a local path below ``layout.root``.
            progress: as for ``bring``.

        Raises:
            NotFound: if nothing lies there.
            Unavailable: also when a file does not stop changing while it is sent.
        """

    def write(self, key: str, chunks: Iterable[bytes], *, max_bytes: int) -> StoredFile:
        """Store what a client sends, whole or not at all; the chunks go to disk, not to memory.

        Raises:
            BadInput: if there are more than ``max_bytes``, or a folder has this key.
            Refused: also if a name begins with a dot: such files would not be listed.
            StorageFull: when the storage, or the disk that the chunks pass through, is full.
        """
        with closing(self.writing(key)) as writing:
            next(writing)
            for chunk in counted(key, chunks, max_bytes):
                if chunk:
                    writing.send(chunk)
            return end_writing(writing)

    @abstractmethod
    def writing(self, key: str) -> Writing:
        """As ``write``, chunk by chunk: no thread is held while the next one is waited for.

        The generator is sent a chunk at a time, and an empty one at the end, upon which it
        returns the file (``end_writing``). Closed before that, it leaves nothing.
        """

    @abstractmethod
    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of one version of a file; nothing past its end.

        The file is opened before this returns, so an error comes before the first byte.

        Args:
            key: of a file.
            start: the first byte.
            length: how many bytes at most.

        Raises:
            NotFound: if there is no such file.
        """

    @abstractmethod
    def delete(self, key: str) -> int:
        """Remove a file or all below a folder, in the working copy too.

        Returns the number of files that the storage had; 0 if there was nothing.
        """

    @abstractmethod
    def link(self, key: str, seconds: int) -> str | None:
        """A URL that downloads this file for so long without a key; None for a folder.

        It is made without asking the store whether the file is there.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise Unavailable, naming what is missing, unless the storage can be used now."""


def end_writing(writing: Writing) -> StoredFile:
    """Send ``Storage.writing`` its end; return the file that it has stored."""
    try:
        writing.send(b"")
    except StopIteration as ended:
        stored: StoredFile = ended.value
        return stored
    raise RuntimeError("a storage goes on after the end of what it stores")


def counted(key: str, chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Pass an upload's chunks on.

    Raises:
        BadInput: as soon as there are more than ``max_bytes``.
        Unavailable: when the connection that they come from breaks.
    """
    done = 0
    try:
        for chunk in chunks:
            done += len(chunk)
            if done > max_bytes:
                raise BadInput(
                    f"{key} is larger than the {max_bytes} bytes allowed: send a smaller one."
                )
            yield chunk
    except OSError as error:
        raise Unavailable(f"The upload of {key} broke off: send it again.") from error


def open_storage(settings: Settings) -> Storage:
    """The storage that ``settings.root`` names; the network is not used yet.

    Raises:
        BadInput: if the root names no bucket.
        Unavailable: if the local folder cannot be made.
    """
    layout = settings.layout
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"The folder {layout.root} cannot be made ({error.strerror}): "
            "make it, or name another with ACTVERSE_ROOT or ACTVERSE_HOME."
        ) from error
    # Each is imported where it is used: boto3 takes its time.
    if settings.root.startswith("s3://"):
        from components.s3_storage import open_s3

        return open_s3(settings)
    from components.folder_storage import FolderStorage

    return FolderStorage(layout)
