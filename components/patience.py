"""Waiting for a service of ours that does not answer: for some minutes, and in sight."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from components.errors import Unavailable

logger = logging.getLogger("actverse.patience")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0

T = TypeVar("T")


def _untold(sentence: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Patience:
    """Asks again while a service is away.

    Attributes:
        seconds: how long one service is waited for; 0: not at all.
        told: is given the sentence that says what is waited for, and "" when it is there.
    """

    seconds: float = 0.0
    told: Callable[[str], None] = _untold

    def __call__(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returns; call it again after it has raised Unavailable.

        It must be such that it can be repeated. Any other error is raised at once.

        Raises:
            Unavailable: the last one, when ``seconds`` have passed since the first one.
        """
        away: float | None = None
        since, pause = "", _FIRST_PAUSE
        while True:
            try:
                answer = ask()
            except Unavailable as error:
                moment = time.monotonic()
                if away is None:
                    away, since = moment, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
                left = self.seconds - (moment - away)
                if left <= 0:
                    raise
                logger.warning("%s It is waited for.", error)
                self.told(f"Waiting since {since}: {error}")
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if away is not None:
                    self.told("")
                return answer


NO_PATIENCE = Patience()
"""Raises Unavailable at once."""
