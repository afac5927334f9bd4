"""MLflow's server with a door: ``mlflow server --app-name actverse``.

Whoever reaches a plain MLflow server may do everything in it: move the alias that says what
is served, read every artifact, have it send requests to any address as webhooks. This app lets
in only those who show the token of ``ACTVERSE_MLFLOW_TOKEN``:

- programs as a bearer token, which MLflow's client takes from ``MLFLOW_TRACKING_TOKEN``;
- people as the password of the user ``actverse``, for which the browser asks.

A browser sends a password that it knows with requests of other pages too, so those are told by
their headers and refused; a link to here is not. A webhook may lead to the gateway alone.
``/health`` answers everybody.
"""

import base64
import binascii
import hmac
import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.errors import BadInput

USER = "actverse"
"""The name that people log in by."""

_HEALTH = "/health"
_WEBHOOK_BYTES = 2**16

Scope = dict[str, Any]


class TrackingServerSettings(BaseSettings):
    """What the app reads: ``ACTVERSE_MLFLOW_TOKEN`` and the like."""

    model_config = SettingsConfigDict(
        env_prefix="ACTVERSE_MLFLOW_", extra="ignore", hide_input_in_errors=True
    )

    token: SecretStr = Field(SecretStr(""), description="what is asked of every client")
    webhook_url: str = Field(
        "", description="the one URL that a webhook may have; empty: no webhook can be made"
    )


def create_app() -> Any:
    """MLflow's own app behind the door.

    Raises:
        BadInput: if there is no token.
    """
    settings = TrackingServerSettings()
    token = settings.token.get_secret_value()
    if not token:
        raise BadInput(
            "The tracking server is to ask for a token and has none: set ACTVERSE_MLFLOW_TOKEN."
        )
    from mlflow.server.fastapi_app import app

    return Door(app, token, settings.webhook_url)


class Door:
    """An ASGI app before another one, which is reached by those who may.

    Args:
        app: the other one.
        token: what they must show.
        webhook_url: where a webhook may lead.
    """

    def __init__(self, app: Any, token: str, webhook_url: str) -> None:
        self._app = app
        self._token = token.encode()
        self._webhook_url = webhook_url

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            # A WebSocket that is closed before it is accepted is refused.
            return await send({"type": "websocket.close", "code": 1008})
        path = scope["path"]
        headers = {name.lower(): value for name, value in scope["headers"]}
        if path == _HEALTH and scope["method"] in ("GET", "HEAD"):
            return await self._app(scope, receive, send)
        if fault := _foreign(scope["method"], headers):
            return await _answer(send, 403, fault)
        if not self._is_known(headers.get(b"authorization", b"")):
            return await _answer(
                send,
                401,
                f"This server asks for a token: programs send it as MLFLOW_TRACKING_TOKEN, people "
                f"log in as {USER} with it as the password ('actverse keys show mlflow').",
                (b"www-authenticate", b'Basic realm="actverse MLflow", charset="UTF-8"'),
            )
        if "/webhooks" in path and scope["method"] not in ("GET", "HEAD", "DELETE"):
            body = await _body(receive)
            if body is None:
                return await _answer(send, 413, "What is said of a webhook is too long.")
            if fault := self._webhook_fault(body):
                return await _answer(send, 403, fault)
            receive = _replayed(body, receive)
        return await self._app(scope, receive, send)

    def _is_known(self, authorization: bytes) -> bool:
        scheme, _, shown = authorization.strip().partition(b" ")
        shown = shown.strip()
        if scheme.lower() == b"basic":
            try:
                user, _, shown = base64.b64decode(shown, validate=True).partition(b":")
            except binascii.Error:
                return False
            if not hmac.compare_digest(user, USER.encode()):
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(shown, self._token)

    def _webhook_fault(self, body: bytes) -> str:
        """Why a request about webhooks is refused; empty if it is not."""
        if not body.strip():
            return ""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return "What is said of a webhook is no JSON."
        if not isinstance(asked, dict):
            return "What is said of a webhook is no JSON object."
        if "url" in asked and (not self._webhook_url or asked["url"] != self._webhook_url):
            return (
                "A webhook of this server may lead to "
                f"{self._webhook_url or 'no address'} alone: see ACTVERSE_MLFLOW_WEBHOOK_URL."
            )
        return ""


def _foreign(method: str, headers: dict[bytes, bytes]) -> str:
    """Why a request is taken for one of another page; empty if it is not.

    A browser says where a request comes from, programs say nothing. The Host it is sent to has
    been looked at by then, or is by MLflow itself.
    """
    refused = "This is a request of a page of another address."
    host = headers.get(b"host", b"").decode("latin-1").lower()
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if origin and _place_of(origin) != host:
        return refused
    site = headers.get(b"sec-fetch-site", b"none").lower()
    if site in (b"none", b"same-origin"):
        return ""
    link = headers.get(b"sec-fetch-mode") == b"navigate" and method in ("GET", "HEAD")
    return "" if link and headers.get(b"sec-fetch-dest", b"document") == b"document" else refused


def _place_of(origin: str) -> str:
    """The host and port of an origin; empty if it is none, such as ``null``."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def _body(receive: Any) -> bytes | None:
    """The whole body, or None if it is longer than any about a webhook is."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _WEBHOOK_BYTES:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


def _replayed(body: bytes, receive: Any) -> Any:
    """A ``receive`` that gives the body, as if it had not been read yet."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Any, status: int, sentence: str, *headers: tuple[bytes, bytes]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), *headers],
        }
    )
    await send({"type": "http.response.body", "body": f"{sentence}\n".encode()})
