"""How many long requests run at once: so many of this process, one of each user."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import TooManyRequests

_RETRY_SECONDS = 5


class AtOnce:
    """Lets a few in, and refuses the others at once: each holds one of the server's threads.

    Args:
        most: of all users together.
        what: is let in, in the plural, for the errors.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._lock = threading.Lock()
        self._users: set[str] = set()

    @contextmanager
    def one_of(self, user_id: str) -> Iterator[None]:
        """Hold a place for one of a user's.

        Raises:
            TooManyRequests: if the user holds one already, or none is free.
        """
        with self._lock:
            if user_id in self._users or len(self._users) >= self._most:
                raise TooManyRequests(
                    f"{self._what} are made one at a time for each user, and {self._most} at "
                    f"once: try again in {_RETRY_SECONDS} s.",
                    _RETRY_SECONDS,
                )
            self._users.add(user_id)
        try:
            yield
        finally:
            with self._lock:
                self._users.discard(user_id)
