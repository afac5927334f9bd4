"""Tells every gateway that a task has changed, where Redis connects them.

It is a hint: who misses it finds the change in the database a moment later.
"""

import functools
import logging
from typing import TYPE_CHECKING

from components.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger("actverse.announce")

CHANNEL = "actverse.tasks"


def announce(settings: Settings, task_id: str) -> None:
    """Publish a task's id on ``CHANNEL``; without a Redis nothing is done."""
    if not settings.redis_url:
        return
    from redis import RedisError

    try:
        _redis(settings.redis_url).publish(CHANNEL, task_id)
    except RedisError as error:
        logger.warning("Redis did not take the news of %s: %s", task_id, error)


@functools.lru_cache(maxsize=4)
def _redis(url: str) -> "Redis":
    from redis import Redis

    return Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
