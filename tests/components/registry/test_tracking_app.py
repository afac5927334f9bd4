"""The door before MLflow's server: who comes in, and what of other pages does not."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from components.errors import BadInput
from components.registry.tracking_app import USER, Door, create_app

TOKEN = "a token of these tests, as long as ours"
HOOK = "http://127.0.0.1:8000/webhooks/mlflow"
HOST = "127.0.0.1:5000"
SET_ALIAS = "/api/2.0/mlflow/registered-models/alias"
WEBHOOKS = "/api/2.0/mlflow/webhooks"


class Server:
    """Stands behind the door, and notes what came through."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.heard.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def server() -> Server:
    return Server()


def ask(server: Server, method: str, path: str, **request: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(Door(server, TOKEN, HOOK))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, **request)

    return asyncio.run(asked())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [bearer(TOKEN), {"authorization": f"bearer  {TOKEN}"}, basic(USER, TOKEN)],
    ids=["program", "any case", "person"],
)
def test_who_shows_the_token_comes_in(server: Server, headers: dict[str, str]):
    assert ask(server, "POST", SET_ALIAS, headers=headers, content=b"{}").status_code == 200
    assert server.heard == [("POST", SET_ALIAS, b"{}")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic not-base64!"},
        {"Authorization": "Digest " + TOKEN},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        basic("admin", TOKEN),
        basic(USER, ""),
        basic(USER, TOKEN.upper()),
        basic("", TOKEN),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", SET_ALIAS),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/0/run/model.pt"),
        ("POST", "/health"),
        ("GET", "/health/../"),
        ("GET", "//health"),
        ("GET", "/version"),
    ],
)
def test_who_does_not_stays_out(server: Server, headers: dict[str, str], method: str, path: str):
    answer = ask(server, method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert TOKEN not in answer.text
    assert server.heard == []


def test_health_answers_everybody(server: Server):
    assert ask(server, "GET", "/health").status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "http://evil.localhost:8080"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "http://localhost:5000"},
        {"Origin": "http://127.0.0.1:5000.evil.example"},
        {"Origin": "http://evil.example@127.0.0.1:5000"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {
            "Sec-Fetch-Site": "same-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "iframe",
        },
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_page_of_another_address_does_nothing_by_a_password_that_the_browser_knows(
    server: Server, page: dict[str, str], method: str
):
    headers = {**basic(USER, TOKEN), "Content-Type": "text/plain", **page}
    assert ask(server, method, SET_ALIAS, headers=headers).status_code == 403
    assert server.heard == []


def test_a_form_of_another_page_does_nothing(server: Server):
    form = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = ask(server, "POST", SET_ALIAS, headers=basic(USER, TOKEN) | form)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "own",
    [
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {
            "Sec-Fetch-Site": "same-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        },
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=["its own page", "a link of the gateway's page", "an address typed in"],
)
def test_its_own_page_and_links_to_it_work(server: Server, own: dict[str, str]):
    assert ask(server, "GET", "/", headers=basic(USER, TOKEN) | own).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8000/tasks/",
        "http://127.0.0.1:8000@evil.example/webhooks/mlflow",
        HOOK + "/../../tasks",
        HOOK.upper(),
        "https://public.example/",
        "",
        None,
        [HOOK],
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", WEBHOOKS),
        ("POST", WEBHOOKS + "/"),
        ("POST", "/ajax-api/2.0/mlflow/webhooks"),
        ("PATCH", WEBHOOKS + "/some-id"),
    ],
)
def test_a_webhook_leads_to_the_gateway_alone(server: Server, url: Any, method: str, path: str):
    asked = {"name": "any", "url": url}
    answer = ask(server, method, path, headers=bearer(TOKEN), json=asked)
    assert answer.status_code == 403
    assert HOOK in answer.text
    assert server.heard == []


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"a":' * 5000, b"url=http://x", b"x" * 70_000])
def test_what_is_no_webhook_is_not_handed_on(server: Server, body: bytes):
    assert ask(server, "POST", WEBHOOKS, headers=bearer(TOKEN), content=body).is_client_error
    assert server.heard == []


def test_the_gateways_own_webhook_is_made_changed_and_tried(server: Server):
    made = {"name": "actverse-promotion", "url": HOOK}
    for method, path, body in (
        ("POST", WEBHOOKS, made),
        ("PATCH", WEBHOOKS + "/some-id", {"status": "DISABLED"}),
        ("POST", WEBHOOKS + "/some-id/test", {}),
    ):
        assert ask(server, method, path, headers=bearer(TOKEN), json=body).status_code == 200
        assert json.loads(server.heard[-1][2]) == body
    assert ask(server, "GET", WEBHOOKS, headers=bearer(TOKEN)).status_code == 200


def test_without_a_token_it_does_not_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ACTVERSE_MLFLOW_TOKEN", raising=False)
    with pytest.raises(BadInput, match="ACTVERSE_MLFLOW_TOKEN"):
        create_app()
