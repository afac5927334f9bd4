"""Who called: keys looked up in the database, and remembered for a moment."""

import time

from fastapi.concurrency import run_in_threadpool

from components.settings import Settings
from gateway.database import Sessions
from gateway.keys import Caller, find_caller, key_digest


class Callers:
    """Remembers for a moment whose key is whose, so that a request costs no query.

    A key that was revoked is let in for ``SECONDS`` at most; one that is unknown is asked
    for each time, so that a new key works at once. Keys themselves are not kept.
    """

    SECONDS = 5.0
    _MOST = 4096

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._settings, self._sessions = settings, sessions
        self._known: dict[str, tuple[Caller, float]] = {}

    def knows(self, key: str) -> bool:
        """Whether the key was valid when it was last seen here."""
        return key_digest(self._settings, key) in self._known

    async def find(self, key: str) -> Caller | None:
        """The caller that a key belongs to, or None if it is unknown or revoked."""
        digest = key_digest(self._settings, key)
        caller, until = self._known.get(digest, (None, 0.0))
        if time.monotonic() < until:
            return caller
        caller = await run_in_threadpool(self._look_up, key)
        if caller is not None:
            self._remember(digest, caller)
        else:
            self._known.pop(digest, None)
        return caller

    def _look_up(self, key: str) -> Caller | None:
        with self._sessions() as session:
            return find_caller(session, self._settings, key)

    def _remember(self, digest: str, caller: Caller) -> None:
        moment = time.monotonic()
        if len(self._known) >= self._MOST:
            self._known = {k: known for k, known in self._known.items() if known[1] > moment}
        if len(self._known) < self._MOST:
            self._known[digest] = (caller, moment + self.SECONDS)
