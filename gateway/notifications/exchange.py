"""Publishes to a topic exchange on RabbitMQ, for programs that follow what happens."""

import threading
import time
from typing import TYPE_CHECKING

from components.errors import Unavailable

if TYPE_CHECKING:
    from kombu import Connection, Producer


class Exchange:
    """A durable topic exchange; queues are bound to it by whoever wants to listen.

    One connection, opened when it is first needed and again when it was lost, is shared by
    the threads of a process. It is not to be carried into a forked one.
    """

    def __init__(self, url: str, exchange_name: str, timeout: float = 5.0) -> None:
        """
        Args:
            url: of the broker, amqp://user:password@host:port/vhost.
            exchange_name: made where it is missing.
            timeout: seconds that the broker may take for each answer.
        """
        self._url = url
        self.name = exchange_name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, routing_key: str, body: bytes, content_type: str, message_id: str) -> None:
        """Publish a message; return when the broker has taken it and will not lose it.

        Whose answer is lost is published once more: listeners tell by ``message_id``.
        Without a listener a message goes nowhere, which is no error.

        Args:
            routing_key: what listeners choose by, task.VIDEO_DOWNLOADED for example.

        Raises:
            Unavailable: if the broker is away, or does not take it.
        """
        with self._lock:
            reused, begun = self._connection is not None, time.monotonic()
            try:
                self._publish(routing_key, body, content_type, message_id)
            except Unavailable:
                if not reused or time.monotonic() - begun >= self._timeout:
                    raise
                # The connection was an old one and is lost; the broker need not be.
                self._publish(routing_key, body, content_type, message_id)

    def close(self) -> None:
        """Close the connection; publishing opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.release()
            self._connection = self._producer = None

    def _publish(self, routing_key: str, body: bytes, content_type: str, message_id: str) -> None:
        from amqp.exceptions import AMQPError, MessageNacked  # type: ignore[import-untyped]
        from kombu.exceptions import KombuError

        try:
            self._open().publish(
                body,
                routing_key=routing_key,
                content_type=content_type,
                content_encoding="utf-8",
                delivery_mode="persistent",
                message_id=message_id,
                mandatory=False,
                timeout=self._timeout,
                confirm_timeout=self._timeout,
            )
        except MessageNacked as error:
            raise Unavailable(
                f"The broker does not take messages for the exchange {self.name} now: "
                "look at its log."
            ) from error
        except (OSError, AMQPError, KombuError) as error:
            self._drop()
            raise Unavailable(
                f"The exchange {self.name} cannot be reached ({_reason(error)}): "
                "check the broker and ACTVERSE_EVENTS_URL."
            ) from error

    def _open(self) -> "Producer":
        if self._producer is None:
            import kombu

            self._connection = kombu.Connection(
                self._url,
                connect_timeout=self._timeout,
                transport_options={
                    "confirm_publish": True,
                    "read_timeout": self._timeout,
                    "write_timeout": self._timeout,
                },
            )
            # Each address of the URL once; by default it tries again, seconds later.
            self._connection.ensure_connection(
                max_retries=self._url.count(";"), interval_start=0, interval_step=0
            )
            exchange = kombu.Exchange(self.name, type="topic", durable=True)
            self._producer = kombu.Producer(self._connection.channel(), exchange=exchange)
        return self._producer

    def _drop(self) -> None:
        """Forget the connection without taking leave: nobody may be there to answer."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect()


def _reason(error: BaseException) -> str:
    return getattr(error, "reply_text", "") or str(error) or type(error).__name__
