"""Celery's filesystem transport, with messages that appear whole.

kombu's own opens the message's file and then writes it; a worker that looks in between takes
an empty one, and breaks. Here it is written beside and renamed.
"""

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

from components.files import write_text


class Channel(filesystem.Channel):
    """A channel whose messages appear whole."""

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        # The name is kombu's: consumers take a queue's files in the order of their names.
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        write_text(Path(self.data_folder_out) / name, dumps(message))


class Transport(filesystem.Transport):
    """``broker_transport="gateway.folder_broker:Transport"``."""

    Channel = Channel
