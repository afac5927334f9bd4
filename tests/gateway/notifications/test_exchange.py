"""Publishing on a real RabbitMQ that comes and goes."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest

from components.errors import Unavailable
from gateway.notifications.cloud_events import CONTENT_TYPE
from gateway.notifications.exchange import Exchange
from tests.helpers.relay import Relay
from tests.helpers.servers import wait_until


@contextmanager
def listening(url: str, exchange: str, key: str = "task.#") -> Iterator[Any]:
    """A queue bound to an exchange, which it declares as listeners would."""
    with kombu.Connection(url) as connection:
        queue = kombu.Queue(
            f"test-{secrets.token_hex(4)}",
            kombu.Exchange(exchange, type="topic", durable=True),
            routing_key=key,
            durable=False,
            exclusive=True,
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


@pytest.fixture
def relay(rabbitmq_url: str) -> Iterator[Relay]:
    """A way to the broker that is closed at first."""
    relay = Relay(urlsplit(rabbitmq_url).port or 0)
    yield relay
    relay.flow()
    relay.close()


def test_broker_comes_and_goes(rabbitmq_url: str, relay: Relay) -> None:
    name = f"events-{secrets.token_hex(4)}"
    exchange = Exchange(f"amqp://guest:hush@127.0.0.1:{relay.port}//", name)
    exchange_there = Exchange(f"amqp://guest:guest@127.0.0.1:{relay.port}//", name)
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "m-1")
    assert "hush" not in str(caught.value)
    with listening(rabbitmq_url, name) as queue:
        with pytest.raises(Unavailable):
            exchange_there.publish("task.X", b"{}", CONTENT_TYPE, "before it is there")
        relay.open()
        exchange_there.publish("task.X", b"{}", CONTENT_TYPE, "1")
        relay.close()
        with pytest.raises(Unavailable):
            exchange_there.publish("task.X", b"{}", CONTENT_TYPE, "while it is away")
        relay.open()
        exchange_there.publish("task.X", b"{}", CONTENT_TYPE, "2")
        assert [taken(queue).properties["message_id"] for _ in "12"] == ["1", "2"]
    exchange_there.close()


def test_connection_that_was_lost_meanwhile_is_opened_again(
    rabbitmq_url: str, relay: Relay
) -> None:
    exchange = Exchange(rabbitmq_url.replace(str(relay.target), str(relay.port)), "events")
    relay.open()
    exchange.publish("task.X", b"{}", CONTENT_TYPE, "1")
    relay.cut()
    with listening(rabbitmq_url, "events") as queue:
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "2")
        assert taken(queue).properties["message_id"] == "2"
    exchange.close()


def test_broker_that_hangs_is_left(rabbitmq_url: str, relay: Relay) -> None:
    url = rabbitmq_url.replace(str(relay.target), str(relay.port))
    exchange = Exchange(url, "events", timeout=2.0)
    relay.open()
    relay.hang()
    with pytest.raises(Unavailable, match="timed out"):
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "at the first word")
    relay.flow()
    exchange.publish("task.X", b"{}", CONTENT_TYPE, "1")
    relay.hang()
    with pytest.raises(Unavailable, match="timed out"):
        exchange.publish("task.X", b"{}", CONTENT_TYPE, "before it is confirmed")
    relay.flow()
    exchange.publish("task.X", b"{}", CONTENT_TYPE, "2")
    exchange.close()
