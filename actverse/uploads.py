"""What is uploaded for one request, so that the gateway can read it there."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actverse.asking import LabelFormat, Place, named_place
from actverse.rest import Connection
from actverse.transfers import (
    check_labels,
    folder_files,
    image_files,
    key_path,
    label_files,
    send,
)
from components.errors import ActverseError, Unavailable
from components.steps import Progress

_IMAGES = 48
"""More than the gateway looks at."""


class Uploads:
    """The files of one request, which begins long work; removed again if it is refused.

    Args:
        acting: the query that says for whom.
        idempotency_key: with the same one, the same files get the same keys again.
        progress: told of bytes; its ``what`` says of which upload.
    """

    def __init__(
        self,
        connection: Connection,
        acting: dict[str, str],
        idempotency_key: str | None,
        progress: Progress,
    ) -> None:
        self._connection, self._acting, self._progress = connection, acting, progress
        self._idempotency_key = idempotency_key or str(uuid.uuid4())
        # What an earlier sending may have made is not ours to remove.
        self._removable = idempotency_key is None
        digest = hashlib.sha256(self._idempotency_key.encode()).hexdigest()[:12]
        self._folder = f"uploads/{secrets.token_hex(6) if self._removable else digest}"
        self._used = False

    def file(self, place: Place, what: str) -> str:
        """The URL or key of a place; a local file is uploaded first.

        Raises:
            BadInput: if there is no such file.
        """
        if (named := named_place(place)) is not None:
            return named
        path = Path(place)
        key = f"{self._folder}/{what}/{path.resolve().name}"
        self._send({key: path}, what)
        return key

    def folder(self, place: Place, what: str) -> str:
        """The key of a folder; a local one is uploaded first.

        Raises:
            BadInput: if there is no such folder, or nothing in it.
        """
        if (named := named_place(place)) is not None:
            return named
        return self._files(Path(place), folder_files(Path(place)), what)

    def labels(
        self,
        place: Place,
        format: LabelFormat | None = None,
        *,
        images: bool = True,
        files: bool = True,
    ) -> str:
        """The key of labels, a file, folder or archive; local ones are uploaded first.

        Args:
            format: of what is to be uploaded of a folder.
            images: with those of a folder.
            files: whether a single file will do.

        Raises:
            BadLabels: if there are none.
        """
        if (named := named_place(place)) is not None:
            return named
        path = Path(place)
        if files and not path.is_dir():
            check_labels(path, format)
            return self.file(path, "labels")
        return self._files(path, label_files(path, format, images=images), "labels")

    def images(self, place: Place) -> str:
        """The key of a folder of images, or of a video; of a local folder a few are uploaded.

        Raises:
            BadInput: if there is no such place, or no image in it.
        """
        if named_place(place) is not None or not Path(place).is_dir():
            return self.file(place, "images")
        return self._files(Path(place), image_files(Path(place), _IMAGES), "images")

    def weights(self, place: Place) -> str:
        """A checkpoint as a training's settings name it; a local one is uploaded first."""
        if isinstance(place, str) and not Path(place).is_file():
            return place
        return f"key:{self.file(place, 'weights')}"

    def begin(self, path: str, body: Mapping[str, Any]) -> str:
        """Post the request; return the id of its task."""
        answer = self._connection.call(
            "POST",
            path,
            json={**body, **self._acting},
            headers={"Idempotency-Key": self._idempotency_key},
        )
        return str(answer["task_id"])

    def _files(self, folder: Path, files: Mapping[str, Path], what: str) -> str:
        key = f"{self._folder}/{what}/{folder.resolve().name}"
        self._send({f"{key}/{name}": file for name, file in files.items()}, what)
        return key

    def _send(self, files: dict[str, Path], what: str) -> None:
        def tell(done: float, total: float, **facts: Any) -> None:
            self._progress(done, total, what=what, **facts)

        self._used = True
        send(self._connection, files, self._acting, tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Where nobody answered, the task may have been made all the same.
        refused = isinstance(error, ActverseError) and not isinstance(error, Unavailable)
        if refused and self._used and self._removable:
            # If nothing got there, or it cannot be helped, the first error is what is told.
            with suppress(ActverseError):
                self._connection.call("DELETE", key_path(self._folder), params=self._acting)
