"""Requests to a gateway: what is sent again and what is not, and its errors as ours."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from actverse.client import Client
from components import errors
from components.errors import (
    ActverseError,
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from gateway import problems
from tests.actverse.conftest import refused_port
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.web import Answer, body

TASK = body(b'{"task_id": "t-1"}')
KEY = b'{"id": 1, "key": "av_x"}'


def problem(status: int, kind: str, detail: str = "What is wrong.", **headers: str) -> Answer:
    content = {"type": f"urn:actverse:problem:{kind}", "detail": detail, "status": status}
    return body(json.dumps(content).encode(), status, **headers)


def broken(handler: BaseHTTPRequestHandler) -> None:
    """It came, and no answer goes back."""
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be waited."""
    waited: list[float] = []
    monkeypatch.setattr("actverse.rest.time.sleep", waited.append)
    return waited


@pytest.fixture
def web() -> Iterator[ScriptedWeb]:
    with scripted_web() as web:
        yield web


@pytest.fixture
def client(web: ScriptedWeb) -> Iterator[Client]:
    with Client(web.url("/"), "av_key") as client:
        yield client


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "BadInput", BadInput),
        (400, "BadLabels", errors.BadLabels),
        (400, "Refused", errors.Refused),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (413, "TooLarge", TooLarge),
        (415, "UnsupportedMediaType", BadInput),
        (422, "Unprocessable", BadInput),
        (429, "TooManyRequests", TooManyRequests),
        (500, "Unforeseen", ActverseError),
        (503, "Unavailable", Unavailable),
        (507, "StorageFull", StorageFull),
        (404, "disk_errors", NotFound),
        (418, "Exception", BadInput),
    ],
)
def test_each_problem_is_an_error_of_ours(web, client, status, name, kind):
    web.scripts["/models"] = [problem(status, name, "The sentence.")]
    with pytest.raises(ActverseError, match=r"^The sentence\.$") as told:
        client.models()
    assert type(told.value) is kind


def test_every_class_of_the_gateway_is_one_here_or_follows_from_its_status(web, client):
    for theirs, status in problems.STATUS:
        web.scripts["/models"] = [problem(int(status), theirs.__name__)]
        with pytest.raises(ActverseError) as told:
            client.models()
        expected = getattr(errors, theirs.__name__, BadInput)
        assert type(told.value) is expected, theirs


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadInput), (401, Unauthorized), (413, TooLarge), (502, Unavailable), (504, Unavailable)],
)
def test_an_answer_of_somebody_between_is_named_as_such(web, client, status, kind):
    web.scripts["/models"] = [body(b"<html>nginx</html>", status)]
    with pytest.raises(kind, match=f"answers {status} .* what stands before the gateway"):
        client.models()


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[1]", b'"x"'])
def test_another_server_is_no_gateway(web, client, content):
    web.scripts["/models"] = [body(content)]
    with pytest.raises(BadInput, match="no actverse gateway"):
        client.models()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_asked_again_after_as_long_as_is_asked_for(web, client, no_waits, status):
    passing = problem(status, "Unavailable", Retry_After="7")
    web.scripts["/models"] = [passing, passing, body(b'{"models": []}')]
    assert client.models() == []
    assert no_waits == [7.0, 7.0]


def test_a_post_that_is_sent_again_bears_the_same_idempotency_key(web, client):
    keys = []

    def remembering(answer: Answer) -> Answer:
        def remember(handler: BaseHTTPRequestHandler) -> None:
            keys.append(handler.headers["Idempotency-Key"])
            answer(handler)

        return remember

    lost = [broken, problem(503, "Unavailable", Retry_After="0"), broken, TASK]
    web.scripts["/tasks/"] = [remembering(answer) for answer in lost]
    assert client.create_task("https://example.org/a.mp4") == "t-1"
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert keys[0]
    assert len(set(web.requests["/tasks/"])) == 1
    web.scripts["/tasks/"] = [remembering(TASK)]
    client.create_task("https://example.org/a.mp4")
    assert keys[-1] != keys[0]


@pytest.mark.parametrize("answer", [broken, problem(503, "Unavailable", Retry_After="0")])
def test_what_would_be_done_twice_is_not_sent_again(web, client, answer):
    web.scripts["/keys/"] = [answer, body(KEY)]
    with pytest.raises(Unavailable):
        client.create_key("ada")
    assert len(web.requests["/keys/"]) == 1


def test_what_was_certainly_not_taken_is_sent_again_in_any_case(web, client, no_waits):
    web.scripts["/keys/"] = [problem(429, "TooManyRequests", Retry_After="2"), body(KEY)]
    assert client.create_key("ada")["key"] == "av_x"
    assert no_waits == [2.0]


def test_it_ends_after_a_few_times(web, client):
    web.scripts["/models"] = [problem(429, "TooManyRequests", "Enough.", Retry_After="9")]
    with pytest.raises(TooManyRequests, match="Enough") as told:
        client.models()
    assert told.value.retry_after == 9
    assert len(web.requests["/models"]) == 4


def test_who_is_to_come_back_much_later_is_told_at_once(web, client):
    web.scripts["/models"] = [problem(503, "Unavailable", Retry_After="3600")]
    with pytest.raises(Unavailable):
        client.models()
    assert len(web.requests["/models"]) == 1


@pytest.mark.parametrize("kind", ["BadInput", "NotFound", "StorageFull"])
def test_what_will_not_pass_is_not_asked_again(web, client, kind):
    web.scripts["/models"] = [problem(400, kind, Retry_After="0")]
    with pytest.raises(ActverseError):
        client.models()
    assert len(web.requests["/models"]) == 1


def test_a_gateway_that_is_not_there_is_named_with_its_address():
    address = f"http://127.0.0.1:{refused_port()}"
    with Client(address, "av_key") as client, pytest.raises(Unavailable) as told:
        client.create_key("ada")
    assert f"The gateway at {address} does not answer" in str(told.value)


def test_a_redirect_is_not_followed_with_the_key(web, client):
    seen = threading.Event()
    with scripted_web() as other:
        other.scripts["/x"] = [lambda handler: seen.set()]
        web.scripts["/models"] = [body(b"", 302, Location=other.url("/x"))]
        with pytest.raises(ActverseError):
            client.models()
    assert not seen.is_set()
