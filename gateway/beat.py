"""Celery's beat, which shows at each tick that it still ticks."""

from typing import Any

from celery.beat import PersistentScheduler

from components.settings import Settings
from gateway.alive import show_alive, sign_path
from gateway.heartbeats import BEAT


class Scheduler(PersistentScheduler):
    """Keeps its schedule in a file, as Celery's own does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sign = sign_path(Settings().home, BEAT)
        super().__init__(*args, **options)

    def tick(self, *args: Any, **options: Any) -> float:
        """Send what is due; returns the seconds until the next look."""
        show_alive(self._sign)
        return float(super().tick(*args, **options))
