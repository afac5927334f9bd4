"""Logs as JSON, one object a line, with the ids of the request and the task in hand."""

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from components.settings import Settings

request_id: ContextVar[str] = ContextVar("request_id", default="")

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# uvicorn's messages come a second time in colour.
_OF_EVERY_RECORD = frozenset((*RESERVED_ATTRS, "color_message"))
# A line for each request to MLflow and for each message that came would bury the rest.
_QUIET = {
    "httpx": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    # With two traces a second it says what the consumer says in a line: the broker is away.
    "celery.beat": logging.CRITICAL,
    "kombu.connection": logging.ERROR,
}


class _Text(logging.Formatter):
    """What a call gives as ``extra`` follows the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        extra = {k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD}
        told = " ".join(f"{key}={value}" for key, value in extra.items())
        return f"{super().formatMessage(record)}  {told}".rstrip()


def set_up_logs(settings: Settings, level: int = logging.INFO) -> None:
    """Send every log line of this process to standard error in the settings' format.

    What a call gives as ``extra`` (``task_id``, ``step``, ``attempt`` …) stands in the object
    beside ``message``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_with_request)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            reserved_attrs=_OF_EVERY_RECORD,
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
        if settings.log_format == "json"
        else _Text(_TEXT)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    for name in ("uvicorn", "uvicorn.error"):
        # The server has set up handlers of its own before it made the application.
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True


def _with_request(record: logging.LogRecord) -> bool:
    if request_id.get():
        record.request_id = request_id.get()
    return True
