"""Logs as JSON, one object a line, with the ids of the request and the task in hand."""

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from components.settings import Settings

request_id: ContextVar[str] = ContextVar("request_id", default="")

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


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
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
        if settings.log_format == "json"
        else logging.Formatter(_TEXT)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line for every request to MLflow would bury the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        # The server has set up handlers of its own before it made the application.
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True


def _with_request(record: logging.LogRecord) -> bool:
    if request_id.get():
        record.request_id = request_id.get()
    return True
