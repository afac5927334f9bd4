"""Which addresses notifications go to, and how these are shown."""

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from components.errors import ActverseError, BadInput, Refused
from gateway.notifications.targets import allowed_schemas, check_target, hidden, parse_target

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"
DISCORD = "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMN"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"


@pytest.mark.parametrize(
    "url",
    [
        SLACK,
        DISCORD,
        TELEGRAM,
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "mailto://ada:pass@mail.test?from=ada@lab.test&to=bob@lab.test",
        "mailtos://ada:pass@gmail.com",
        "json://hooks.test/lab?+X-Token=secret&-key=value",
        "jsons://ada:pass@hooks.test:8443/lab",
        "gotify://push.test/AbCdEfGhIjKlMnO",
        "ntfys://topic",
    ],
)
def test_address_is_kept_as_it_was_given(url: str) -> None:
    assert check_target(f" {url} ", allow_private=False) == url


def test_services_of_people_are_taken_and_others_are_not() -> None:
    schemas = allowed_schemas()
    assert schemas > {"slack", "discord", "tgram", "mailto", "mailtos", "json", "jsons", "xml"}
    assert schemas > {"gotify", "ntfy", "ntfys", "matrix", "mmost", "rocket", "workflows", "zulip"}
    assert len(schemas) > 150
    assert not schemas & {
        *("dbus", "kde", "qt", "glib", "gio", "gnome", "macosx", "windows"),  # desktops
        *("syslog", "rsyslog", "blink1", "growl"),  # this machine, or its network
        *("amqp", "amqps", "mqtt", "mqtts", "xmpp", "xmpps", "irc", "ircs", "smpp", "aprs"),
        *("vapid", "fcm"),  # keep files
        *("file", "memory", "http", "https", "exec", "script", "apprise+file"),
    }


@pytest.mark.parametrize(
    "url",
    [
        "dbus://",
        "gnome://",
        "windows://",
        "macosx://",
        "syslog://",
        "SYSLOG://",
        "rsyslog://10.0.0.5/auth",
        "amqp://guest:hush@10.0.0.5",
        "mqtt://10.0.0.5/topic",
        "file:///etc/passwd",
        "gopher://10.0.0.5/",
        "vapid://ada@lab.test/bob@lab.test?keyfile=/etc/passwd",
        "fcm://project/device?keyfile=/etc/passwd",
    ],
)
def test_other_services_are_refused(url: str) -> None:
    with pytest.raises(Refused, match="Notifications are not sent to") as caught:
        check_target(url, allow_private=True)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "/etc/passwd",
        "slack://hush",
        "https://hush.test/",
        "mailto://",
        "json://",
        "json://host:99999/hush",
        "json://host.test/hush\nX: y",
        "json://host.test/" + "hush" * 2000,
    ],
)
def test_what_is_no_whole_address_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_target(url, allow_private=True)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/",
        "json://10.0.0.5/",
        "jsons://169.254.169.254/latest/meta-data",
        "json://[::1]/",
        "json://[::ffff:10.0.0.5]/",
        "gotify://192.168.1.1/AbCdEfGhIjKlMnO",
        "mailto://ada:hush@127.0.0.1?from=ada@lab.test&to=bob@lab.test",
    ],
)
def test_inner_address_in_the_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(Refused, match="not public") as caught:
        check_target(url, allow_private=False)
    assert "hush" not in str(caught.value)


def test_inner_address_is_taken_where_the_network_holds_no_secrets() -> None:
    assert check_target("json://127.0.0.1:8080/", allow_private=True).startswith("json://127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        f"{SLACK}?template={{file}}",
        f"{DISCORD}?template={{file}}",
        f"{TELEGRAM}?template={{file}}",
        f"{SLACK}?template=file://{{file}}",
        f"{SLACK}?template=http://127.0.0.1/x",
        f"{SLACK}?template=memory://{{file}}",
        "mailto://ada:pass@mail.test?pgp=encrypt&pgppub={file}",
        "mailto://ada:pass@mail.test?pgp=sign&pgpprv={file}",
    ],
)
def test_option_that_names_a_file_is_not_followed(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.json"
    file.write_text('{"text": "canary"}')
    with pytest.raises(ActverseError):
        check_target(url.format(file=file), allow_private=True)


def test_nothing_can_be_attached(tmp_path: Path) -> None:
    from apprise import AppriseAttachment

    allowed_schemas()
    file = tmp_path / "secret"
    file.write_text("canary")
    attachments = AppriseAttachment()
    for source in (str(file), f"file://{file}", "http://127.0.0.1/x", "https://127.0.0.1/x"):
        with suppress(KeyError):
            assert not attachments.add(source)
    assert len(attachments) == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mailto://ada:hush@mail.test?to=bob@lab.test", "mailto://ada:****@mail.test"),
        ("mailtos://ada:hush@gmail.com?pass=hush", "mailtos://ada:****@gmail.com"),
        ("json://ada:hush@hooks.test/hush?+Auth=hush&-k=hush&:p=hush", "json://hooks.test/…"),
        ("jsons://hush@hooks.test:8443/hush", "jsons://hooks.test:8443/…"),
        ("xml://hooks.test/hush", "xml://hooks.test/…"),
        ("form://hooks.test/hush", "form://hooks.test/…"),
        ("gotify://push.test/hushhushhushhush", "gotify://push.test/h...h"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/hushhushhushhushhushhush", "slack://T...2/A...D/h...h"),
        ("tgram://123456789:hushhush_hushhush/12345", "tgram://"),
        ("slack://hush", "slack://…"),
        ("dbus://hush", "dbus://…"),
        ("hush", "://…"),
        ("json://[hush", "json://…"),
    ],
)
def test_address_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert hidden(url).startswith(expected)
    assert "?" not in hidden(url)
    assert "hush" not in hidden(url)


def test_apprise_writes_no_log_of_its_own() -> None:
    class Log(logging.Handler):
        said = ""

        def emit(self, record: logging.LogRecord) -> None:
            self.said += f"{record.name}: {record.getMessage()}\n"

    allowed_schemas()
    root, log = logging.getLogger(), Log()
    root.addHandler(log)
    try:
        check_target("json://ada:hush@hooks.test/", allow_private=True)
        with pytest.raises(BadInput):
            check_target("slack://hush", allow_private=True)
        logging.getLogger("actverse").error("heard")
    finally:
        root.removeHandler(log)
    assert log.said == "actverse: heard\n"


def test_user_cannot_make_us_wait() -> None:
    plugin = parse_target("json://hooks.test/?rto=99999&cto=99999")
    assert plugin.socket_read_timeout <= 10
    assert plugin.socket_connect_timeout <= 10
    assert parse_target("json://hooks.test/?rto=3").socket_read_timeout == 3
