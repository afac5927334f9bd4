"""The Celery application. ``celery -A gateway.celery_app worker`` and ``… beat``

The database is the truth, a message only says where to look: one that is lost costs
``requeue_seconds``, one that comes twice changes nothing.
"""

from celery import Celery
from kombu import Queue as KombuQueue

from components.settings import Settings
from gateway.flows import Queue

STEP, CHORD_END = "actverse.step", "celery.chord_unlock"
NOTIFY, PROBE = "actverse.notify", "actverse.probe"
# Beat does these itself: no message of a user's can be in their way.
RECOVER, DELIVER = "actverse.recover", "actverse.deliver_events"

_DELIVER_SECONDS = 1.0


def create_celery(settings: Settings, *, results: bool = False) -> Celery:
    """An application on the broker that the settings name.

    Args:
        results: keep them in the result backend. Workers do, for the chord, which has to know
            when all of its parts have ended; nobody else asks what came of a message.
    """
    celery = Celery("actverse", set_as_current=False)
    celery.conf.update(
        **_broker(settings),
        result_backend=_result_backend(settings) if results else "cache+memory://",
        result_expires=24 * 3600,
        result_chord_retry_interval=0.2,
        result_chord_join_timeout=30.0,
        task_queues=[KombuQueue(queue.value, routing_key=queue.value) for queue in Queue],
        task_default_queue=Queue.NOTIFICATION.value,
        task_serializer="json",
        accept_content=["json"],
        # Steps run in child processes that the worker starts by itself (gateway.step_processes);
        # a pool of processes shares a lock, which is held for ever by one that is killed.
        worker_pool="threads",
        # A message is done with when its work is: a worker that dies gives it back.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2.0,
        # Beat sends again: nobody has to wait here for a broker that is away.
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_scheduler="gateway.beat:Scheduler",
        beat_schedule={
            "recover": {"task": RECOVER, "schedule": _beat_seconds(settings)},
            "deliver": {"task": DELIVER, "schedule": _DELIVER_SECONDS},
        },
        beat_max_loop_interval=1.0,
    )
    return celery


def _beat_seconds(settings: Settings) -> float:
    return min(settings.lease_seconds / 3, settings.requeue_seconds / 3, 5.0)


def _broker(settings: Settings) -> dict[str, object]:
    if settings.broker_url:
        options: dict[str, object] = {}
        if settings.broker_url.startswith("redis"):
            # How soon Redis gives back what a dead worker held; steps may take longer, for
            # their leases keep a second delivery from running.
            options = {
                "visibility_timeout": 3600,
                "unacked_restore_interval": 2,
                "unacked_restore_throttle": 1,
                "socket_timeout": 5.0,
                "socket_connect_timeout": 2.0,
            }
        return {"broker_url": settings.broker_url, "broker_transport_options": options}
    folder = settings.home / "broker"
    for name in ("messages", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://",
        "broker_transport": "gateway.folder_broker:Transport",
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.05,
        },
    }


def _result_backend(settings: Settings) -> str:
    if settings.redis_url:
        return settings.redis_url
    if settings.database_url.startswith("sqlite"):
        # A file of its own: its locks are not the gateway's.
        return f"db+sqlite:///{settings.home / 'celery.db'}"
    return f"db+{settings.database_url}"


def __getattr__(name: str) -> Celery:
    if name == "app":
        # Settings are read when Celery's command line asks, not by whoever imports a name.
        from gateway.worker import worker_app

        return worker_app()
    raise AttributeError(name)
