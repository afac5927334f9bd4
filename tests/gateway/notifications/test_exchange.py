"""Publishing on a real RabbitMQ that comes and goes."""

import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest

from components.errors import Unavailable
from gateway.notifications.cloud_events import CONTENT_TYPE
from gateway.notifications.exchange import Exchange
from tests.helpers.brokers import RabbitMQ, missing_rabbitmq
from tests.helpers.servers import free_ports, wait_until


@contextmanager
def listening(url: str, exchange: str, key: str = "task.#", durable: bool = False) -> Iterator[Any]:
    """A queue bound to an exchange, which it declares as listeners would."""
    with kombu.Connection(url) as connection:
        queue = kombu.Queue(
            f"test-{secrets.token_hex(4)}",
            kombu.Exchange(exchange, type="topic", durable=True),
            routing_key=key,
            durable=durable,
            exclusive=not durable,
        )(connection.channel())
        queue.declare()
        yield queue


def taken(queue: Any) -> Any:
    messages: list[Any] = []

    def take() -> bool:
        if (message := queue.get(no_ack=True)) is not None:
            messages.append(message)
        return bool(messages)

    wait_until(take, 10, "a message")
    return messages[0]


@pytest.fixture
def exchange(rabbitmq_url: str) -> Iterator[Exchange]:
    exchange = Exchange(rabbitmq_url, f"events-{secrets.token_hex(4)}")
    yield exchange
    exchange.close()


def test_message_reaches_those_who_listen(rabbitmq_url: str, exchange: Exchange) -> None:
    with (
        listening(rabbitmq_url, exchange.name, "task.VIDEO_DOWNLOADED") as downloads,
        listening(rabbitmq_url, exchange.name, "task.STEP_FAILED") as failures,
    ):
        exchange.publish("task.VIDEO_DOWNLOADED", b'{"a": "\xc3\xa9"}', CONTENT_TYPE, "m-1")
        message = taken(downloads)
        assert message.body.encode() == b'{"a": "\xc3\xa9"}'
        assert message.content_type == CONTENT_TYPE
        assert message.properties["message_id"] == "m-1"
        assert message.properties["delivery_mode"] == 2, "it would not outlive the broker"
        assert message.delivery_info["routing_key"] == "task.VIDEO_DOWNLOADED"
        assert failures.get(no_ack=True) is None


def test_nobody_needs_to_listen(exchange: Exchange) -> None:
    exchange.publish("task.X", b"{}", CONTENT_TYPE, "m-1")


def test_threads_share_the_connection(rabbitmq_url: str, exchange: Exchange) -> None:
    with listening(rabbitmq_url, exchange.name) as queue:
        threads = [
            threading.Thread(target=exchange.publish, args=("task.X", b"{}", CONTENT_TYPE, str(n)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken(queue).properties["message_id"] for _ in threads) == list("01234567")


def test_closed_exchange_opens_again(exchange: Exchange) -> None:
    for _ in range(2):
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "m-1")
        exchange.close()


def test_wrong_password_is_told_without_it(rabbitmq_url: str) -> None:
    wrong = Exchange(rabbitmq_url.replace("guest:guest", "guest:hush"), "events")
    with pytest.raises(Unavailable, match="Login was refused") as caught:
        wrong.publish("task.X", b"{}", CONTENT_TYPE, "m-1")
    assert "hush" not in str(caught.value)


def test_exchange_of_another_kind_is_told(rabbitmq_url: str, exchange: Exchange) -> None:
    with kombu.Connection(rabbitmq_url) as connection:
        other = kombu.Exchange(exchange.name, type="fanout", durable=True)
        other(connection.channel()).declare()
    with pytest.raises(Unavailable, match="inequivalent arg 'type'"):
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "m-1")


def test_broker_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    exchange = Exchange(f"amqp://guest:hush@127.0.0.1:{port}//", "events")
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "m-1")
    assert "hush" not in str(caught.value)


def test_broker_comes_goes_and_hangs(tmp_path: Path) -> None:
    if reason := missing_rabbitmq():
        pytest.skip(reason)
    broker = RabbitMQ(tmp_path)
    exchange = Exchange(broker.url, "events", timeout=2.0)

    def publish(message_id: str) -> None:
        exchange.publish("task.X", b"{}", CONTENT_TYPE, message_id)

    try:
        with pytest.raises(Unavailable):
            publish("before it is there")
        broker.start()
        with listening(broker.url, "events", durable=True) as queue:
            name = queue.name
            publish("kept")
        broker.stop()
        with pytest.raises(Unavailable):
            publish("while it is away")
        broker.start()
        publish("after")
        with kombu.Connection(broker.url) as connection:
            queue = kombu.Queue(name, durable=True)(connection.channel())
            assert [taken(queue).properties["message_id"] for _ in "12"] == ["kept", "after"]
        broker.send(signal.SIGSTOP)
        with pytest.raises(Unavailable, match="timed out"):
            publish("into the void")
        broker.send(signal.SIGCONT)
        publish("again")
    finally:
        exchange.close()
        broker.stop()
