"""Celery's beat, which shows at each tick that it still ticks, and does its own errands.

What it looks after (lost steps, events that are to be told) it does in threads of its own. As
messages these errands would stand behind whatever users have asked of a worker, and pile up.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery.beat import PersistentScheduler

from components.settings import Settings
from gateway.alive import show_alive, sign_path
from gateway.heartbeats import BEAT
from gateway.upkeep import Upkeep

logger = logging.getLogger("actverse.beat")


class Scheduler(PersistentScheduler):
    """Keeps its schedule in a file, as Celery's own does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        settings = Settings()
        self._sign = sign_path(settings.home, BEAT)
        self._settings = settings
        self._errands: dict[str, Callable[[], None]] | None = None
        self._running: dict[str, threading.Thread] = {}
        super().__init__(*args, **options)

    def tick(self, *args: Any, **options: Any) -> float:
        """Do and send what is due; returns the seconds until the next look."""
        show_alive(self._sign)
        return float(super().tick(*args, **options))

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **options: Any
    ) -> Any:
        """Begin an errand, unless it still runs; all else is sent as a message."""
        if self._errands is None:
            # Opened by the first tick: nothing of it may be forked.
            self._errands = Upkeep(self._settings, self.app).errands()
        errand = self._errands.get(entry.task)
        if errand is None:
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        if entry.task not in self._running or not self._running[entry.task].is_alive():
            thread = threading.Thread(
                target=_done, args=(entry.task, errand), name=entry.task, daemon=True
            )
            self._running[entry.task] = thread
            thread.start()
        return None


def _done(name: str, errand: Callable[[], None]) -> None:
    try:
        errand()
    except Exception:
        # A database that was away must not end it.
        logger.exception("%s could not be done; it follows again", name)
