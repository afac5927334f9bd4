"""Sending through Apprise to real servers: an SMTP and an HTTP one on the loopback.

The "public" address is 127.0.0.1; 127.0.0.2 is a private one.
"""

import json
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from components.errors import ActverseError, BadInput, Refused, Unavailable
from gateway.notifications.apprise_process import deliver
from gateway.notifications.targets import check_target
from tests.helpers.servers import free_ports
from tests.helpers.web import Answer, body, only_first_loopback, redirect, serving

TITLE, BODY = "The results are ready (t-1)", "Task: t-1\nFiles: <a> & b"


def send(url: str, **options: Any) -> None:
    settings = {"allow_private": False, "allowed": only_first_loopback, **options}
    deliver(url, TITLE, BODY, **settings)


class Mailbox:
    """What a mail server took, and what it is to answer."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.recipients: list[str] = []
        self.answers = {"RCPT": "250 OK", "DATA": "250 OK"}

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.answers["RCPT"].startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answers["RCPT"]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers["DATA"].startswith("250"):
            self.mails.append(message_from_bytes(envelope.content))
            self.recipients += envelope.rcpt_tos
        return self.answers["DATA"]


def authenticate(
    server: Any, session: Any, envelope: Any, mechanism: str, given: LoginPassword
) -> AuthResult:
    return AuthResult(success=(given.login, given.password) == (b"ada", b"pass"), handled=False)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail_port(mailbox: Mailbox) -> Iterator[int]:
    (port,) = free_ports(1)
    controller = Controller(
        mailbox, "127.0.0.1", port, authenticator=authenticate, auth_require_tls=False
    )
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def mail_url(port: int, password: str = "pass", host: str = "127.0.0.1") -> str:
    return f"mailto://ada:{password}@{host}:{port}?from=ada@lab.test&to=bob@lab.test&mode=insecure"


def test_mail_arrives(mailbox: Mailbox, mail_port: int) -> None:
    send(check_target(mail_url(mail_port), allow_private=True))
    (mail,) = mailbox.mails
    assert mail["Subject"] == TITLE
    assert "ada@lab.test" in mail["From"]
    assert mailbox.recipients == ["bob@lab.test"]
    assert mail.get_content_type() == "text/plain"
    text = mail.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().split() == BODY.split()


def test_our_words_do_not_become_markup(mailbox: Mailbox, mail_port: int) -> None:
    send(mail_url(mail_port) + "&format=html")
    parts = {part.get_content_type(): part for part in mailbox.mails[0].walk()}
    html = parts["text/html"].get_payload(decode=True)
    assert isinstance(html, bytes)
    assert b"&lt;a&gt;" in html
    assert b"<a>" not in html


@pytest.mark.parametrize(
    ("step", "answer", "error"),
    [
        ("RCPT", "550 no such user", BadInput),
        ("RCPT", "450 mailbox busy", Unavailable),
        ("DATA", "552 too much", BadInput),
        ("DATA", "451 try again", Unavailable),
    ],
)
def test_mail_servers_answer_becomes_our_error(
    mailbox: Mailbox, mail_port: int, step: str, answer: str, error: type[ActverseError]
) -> None:
    mailbox.answers[step] = answer
    with pytest.raises(error, match=f"SMTP status {answer[:3]}"):
        send(mail_url(mail_port))


def test_wrong_mail_password_is_told_without_it(mailbox: Mailbox, mail_port: int) -> None:
    with pytest.raises(BadInput, match="SMTP status 535") as caught:
        send(mail_url(mail_port, "hush"))
    assert "hush" not in str(caught.value)
    assert mailbox.mails == []


def test_mail_server_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="cannot be reached"):
        send(mail_url(port))


def test_mail_goes_to_no_private_address(mail_port: int) -> None:
    with pytest.raises(Refused, match="not public"):
        send(mail_url(mail_port, host="127.0.0.2"))
    with pytest.raises(Refused, match="not public"):
        send(mail_url(mail_port), allowed=lambda address: False)
    inside = mail_url(mail_port).replace("127.0.0.1", "mail.test") + "&smtp=127.0.0.2"
    with pytest.raises(Refused, match="not public"):
        send(inside)


class Hook:
    """A web hook that answers as it is told, one answer after the other."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.got.append(json.loads(handler.content))  # type: ignore[attr-defined]
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        self.answers.pop(0)(handler)


def test_web_hook_is_called() -> None:
    hook = Hook(body(b"ok"))
    with serving(hook) as server:
        url = f"json://127.0.0.1:{server.server_port}/lab?+X-Token=secret"
        send(check_target(url, allow_private=True))
    ((got), (headers)) = hook.got[0], hook.headers[0]
    assert (got["title"], got["message"]) == (TITLE, BODY)
    assert got["attachments"] == []
    assert headers["x-token"] == "secret"


def test_web_hook_that_fails_once_can_be_tried_again() -> None:
    hook = Hook(body(b"", 500), body(b"ok"))
    with serving(hook) as server:
        url = f"json://127.0.0.1:{server.server_port}/"
        with pytest.raises(Unavailable, match="status 500"):
            send(url)
        send(url)
    assert len(hook.got) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadInput),
        (401, BadInput),
        (404, BadInput),
        (408, Unavailable),
        (429, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
    ],
)
def test_status_becomes_our_error_without_secrets(status: int, error: type[ActverseError]) -> None:
    with (
        serving(Hook(body(b"error=200 hush", status))) as server,
        pytest.raises(error, match=f"status {status}") as caught,
    ):
        send(f"json://ada:hush@127.0.0.1:{server.server_port}/hush?+X-Token=hush")
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_our_own_words_are_not_taken_for_an_answer() -> None:
    with serving(Hook(body(b"", 404))) as server, pytest.raises(BadInput, match="status 404"):
        deliver(
            f"json://127.0.0.1:{server.server_port}/",
            TITLE,
            "The server said error=503.",
            allow_private=True,
        )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_a_private_address_is_refused(status: int) -> None:
    with (
        serving(body(b"secret"), "127.0.0.2") as private,
        serving(redirect(f"http://127.0.0.2:{private.server_port}/", status)) as public,
    ):
        with pytest.raises(Refused, match="not public"):
            send(f"json://127.0.0.1:{public.server_port}/")
        assert (public.connections, private.connections) == (1, 0)


def test_redirect_to_another_public_address_is_followed() -> None:
    hook = Hook(body(b"ok"))
    with (
        serving(hook) as last,
        serving(redirect(f"http://127.0.0.1:{last.server_port}/", 307)) as first,
    ):
        send(f"json://127.0.0.1:{first.server_port}/")
    assert len(hook.got) == 1


def test_redirect_to_another_scheme_is_not_followed() -> None:
    with serving(redirect("file:///etc/passwd")) as server, pytest.raises(ActverseError):
        send(f"json://127.0.0.1:{server.server_port}/")


def test_name_is_looked_up_once_and_must_not_lead_inside() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    hook = Hook(body(b"ok"))
    with serving(hook) as public, serving(body(b""), "127.0.0.2", public.server_port) as private:
        url = f"json://rebinding.test:{public.server_port}/"
        send(url, resolve=lambda host, port: next(answers))
        assert len(hook.got) == 1
        with pytest.raises(Refused, match="not public"):
            send(url, resolve=lambda host, port: next(answers))
        assert private.connections == 0


def test_web_hook_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="cannot be reached"):
        send(f"json://127.0.0.1:{port}/")


def test_certificate_that_is_not_trusted_is_bad_input(tmp_path: Any) -> None:
    import ssl

    from tests.helpers.web import self_signed

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, ["hooks.test"]))
    with (
        serving(body(b""), tls=context) as server,
        pytest.raises(BadInput, match="certificate cannot be verified"),
    ):
        send(f"jsons://127.0.0.1:{server.server_port}/")
