"""Listens to what the other processes announce of tasks, where Redis connects them."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.announce import CHANNEL

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger("actverse.hints")

_AGAIN_SECONDS = 1.0


class Hints(threading.Thread):
    """Calls ``heard`` with the id of each task that is announced; see ``gateway.announce``.

    While Redis is away it is tried again each second; ``connected`` tells whoever relies on
    hints that none can come. ``heard`` is also called, with an empty id, when the connection
    is there (again): something may have been missed.
    """

    def __init__(self, redis_url: str, heard: Callable[[str], None]) -> None:
        super().__init__(name="hints", daemon=True)
        self._url, self._heard = redis_url, heard
        self._stopping = threading.Event()
        self._connected = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether announcements are being received."""
        return self._connected.is_set()

    def run(self) -> None:
        """Listen until ``stop``."""
        from redis import Redis, RedisError
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Without retries of its own: we are to know that it is away.
        client = Redis.from_url(
            self._url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=1.0,
            socket_timeout=5.0,
            health_check_interval=10,
            decode_responses=True,
        )
        with client:
            while not self._stopping.is_set():
                try:
                    self._listen(client)
                except (RedisError, OSError) as error:
                    logger.warning("Redis does not tell of changes: %s", error)
                    self._connected.clear()
                    self._heard("")
                    self._stopping.wait(_AGAIN_SECONDS)
        self._connected.clear()

    def stop(self) -> None:
        """End it, within a second."""
        self._stopping.set()

    def _listen(self, client: "Redis") -> None:
        with client.pubsub() as channel:
            channel.subscribe(CHANNEL)
            while not self._stopping.is_set():
                message = channel.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._connected.set()
                    self._heard("")
                elif message["type"] == "message":
                    self._heard(message["data"])
