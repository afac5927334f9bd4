"""How many long requests run at once: so many of this process, and so many of each user."""

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.errors import TooManyRequests

_RETRY_SECONDS = 5


class AtOnce:
    """Lets a few in, and refuses the others at once: each holds something of the server's.

    Args:
        most: of all users together.
        what: is let in, in the plural, for the errors.
        each: of one user.
    """

    def __init__(self, most: int, what: str, each: int = 1) -> None:
        self._most, self._what, self._each = most, what, each
        # A holder may be forgotten at any time, by this very thread too.
        self._lock = threading.RLock()
        self._users: Counter[str] = Counter()

    @contextmanager
    def one_of(self, user_id: str) -> Iterator[None]:
        """Hold a place for one of a user's.

        Raises:
            TooManyRequests: if the user holds all of theirs already, or none is free.
        """
        self._take(user_id)
        try:
            yield
        finally:
            self._give_back(user_id)

    def hold(self, user_id: str, holder: object) -> Callable[[], object]:
        """Hold a place for one of a user's; return what gives it back.

        At the latest it is given back when nothing refers to ``holder`` any more: what streams
        an answer may never begin.

        Raises:
            TooManyRequests: as ``one_of``.
        """
        self._take(user_id)
        return weakref.finalize(holder, self._give_back, user_id)

    def _take(self, user_id: str) -> None:
        with self._lock:
            if self._users[user_id] >= self._each or self._users.total() >= self._most:
                each = "one" if self._each == 1 else str(self._each)
                raise TooManyRequests(
                    f"{self._what} are limited to {each} at a time for each user, and "
                    f"{self._most} for all: try again in {_RETRY_SECONDS} s.",
                    _RETRY_SECONDS,
                )
            self._users[user_id] += 1

    def _give_back(self, user_id: str) -> None:
        with self._lock:
            self._users[user_id] -= 1
            # No entry for everybody who ever came.
            self._users += Counter()
