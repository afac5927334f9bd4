"""The one exception tree of actverse.

Every message is one sentence that names the thing and says what to do. Whoever
knows the fault raises; one place a front end (command line, REST, worker) turns
it into an answer.

    ActverseError
    ├── BadInput            what the user gave cannot be used; repeating will not help
    │   ├── BadVideo
    │   ├── BadLabels
    │   └── TooLarge        more bytes than are taken
    ├── NotFound            a thing that was named is not there
    ├── Refused             a thing that was asked for is not allowed
    ├── Unauthorized        who asks did not prove who they are
    ├── Forbidden           who asks is known, and may not do this
    ├── Conflict            what is asked for contradicts what is there
    ├── TooManyRequests     who asks has asked for too much; repeating later helps
    ├── Unavailable         a service does not answer; repeating may help
    │   └── Interrupted     the process of a step was ended from outside
    ├── StorageFull         the storage took no more bytes; repeating may help
    └── StepFailed          a step ran and did not reach its end
        ├── TrainingFailed
        ├── ParityFailed    the export does not behave like the model it was made from
        └── PromotionFailed a version was not fit to be served
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ActverseError(Exception):
    """Base of all errors that actverse raises on purpose."""


class BadInput(ActverseError):
    """What the user gave cannot be used as it is."""


class BadVideo(BadInput):
    """A video that cannot be opened, decoded or used."""


class BadLabels(BadInput):
    """A label file, or a set of them, that cannot be used."""


class TooLarge(BadInput):
    """More bytes than are taken."""


class NotFound(ActverseError):
    """A thing that was named is not there."""


class Refused(ActverseError):
    """A thing that was asked for is not allowed."""


class Unauthorized(ActverseError):
    """Who asks did not prove who they are."""


class Forbidden(ActverseError):
    """Who asks is known, and may not do this."""


class Conflict(ActverseError):
    """What is asked for contradicts what is there."""


class TooManyRequests(ActverseError):
    """Too much was asked for; it may be asked again in ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ActverseError):
    """A service or resource does not answer at the moment."""


class Interrupted(Unavailable):
    """The process that ran a step was ended from outside: killed, or for want of memory."""


class StorageFull(ActverseError):
    """The storage took no more bytes."""


class StepFailed(ActverseError):
    """A step ran and did not reach its end."""


class TrainingFailed(StepFailed):
    """A training ended without a usable model."""


class ParityFailed(StepFailed):
    """An exported model does not behave like the one it was made from.

    Attributes:
        report: the whole comparison, of ``components/export/parity_report.py``; None where
            there was none.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class PromotionFailed(StepFailed):
    """A model version was not fit to be served."""


@contextmanager
def disk_errors(thing: str) -> Iterator[None]:
    """Turn the operating system's "disk full" into ours.

    Args:
        thing: what is being written, as the user knows it ("the overlay video").

    Raises:
        StorageFull: when the block failed with ENOSPC or EDQUOT.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename2 or error.filename
            where = f" at {place}" if place else ""
            raise StorageFull(
                f"No space is left for {thing}{where}: free some and run it again."
            ) from error
        raise
