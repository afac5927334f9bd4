"""The addresses that notifications go to: which are taken, and how they are shown.

An address is an Apprise URL that a user gives (slack://..., mailto://..., json://...), so it
decides which of Apprise's 180 services runs with which options, in our process. Taken are
the services that speak HTTP through requests, and mail: these are for people, and the
outbound guard sees every connection of theirs. So nothing runs a program, writes to this
machine's desktop or log, or brings a network stack of its own.

Some options name files to read and send along (Slack's ?template=/etc/passwd), keys, or
further addresses to fetch. All of them go through Apprise's attachments, which are taken
out of this process; nothing here ever attaches a file. Storage is memory only, no plugin or
configuration is loaded from anywhere.
"""

import functools
import logging
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

from components.errors import ActverseError, BadInput, Refused
from components.guarded_sockets import guarded_sockets

if TYPE_CHECKING:
    from apprise import AppriseAsset
    from apprise.plugins.base import NotifyBase

# Keep or read files beside their URL although they speak HTTP.
_WITH_FILES = frozenset({"fcm", "vapid"})
_SCHEME = re.compile(r"\s*([A-Za-z0-9+.-]{1,32})://")
_MAX_LENGTH = 4096


def check_target(url: str, allow_private: bool) -> str:
    """An address as it is to be kept; it holds secrets.

    It stays as it was given but for spaces around it: Apprise's own way of writing it
    loses some, the user of a Gmail address for one.

    Args:
        url: an Apprise URL, or a service's own (https://hooks.slack.com/services/...).
        allow_private: lets it name a host that is not public.

    Raises:
        BadInput: if it is none, or not complete.
        Refused: if notifications do not go to its kind of service, or to its host.
    """
    url = url.strip()
    plugin = parse_target(url)
    if not allow_private and "host" in type(plugin).template_tokens:
        _check_literal(str(getattr(plugin, "host", "") or "").strip("[]"))
    return url


def hidden(url: str) -> str:
    """An address as it may be shown: without options and secrets.

    Never raises; of what is no address only the scheme is left.
    """
    try:
        return shown(parse_target(url))
    except Exception:  # noqa: BLE001 (it stands in errors; there must not be another)
        return f"{_scheme(url)}://…"


def shown(plugin: "NotifyBase") -> str:
    """A parsed address as it may be shown."""
    if type(plugin).__module__.startswith("apprise.plugins.custom_"):
        # The user's own web hook: path and user name may well be its secret.
        port = f":{plugin.port}" if plugin.port else ""
        return f"{plugin.schema}://{plugin.host}{port}/…"
    return str(plugin.url(privacy=True)).partition("?")[0]


def parse_target(url: str) -> "NotifyBase":
    """The service that an address stands for, ready to send.

    Raises:
        BadInput: if it is none, or not complete.
        Refused: if notifications do not go to its kind of service.
    """
    if len(url) > _MAX_LENGTH or not url.isprintable() or not _SCHEME.match(url):
        raise BadInput(
            "The notification address is not a URL: give one like mailto://user:password@host."
        )
    from apprise import Apprise
    from apprise.plugins import url_to_dict

    schemas = allowed_schemas()
    scheme = _scheme(url)
    if scheme not in schemas and scheme not in ("http", "https"):
        raise Refused(
            f"Notifications are not sent to {scheme}:// addresses: "
            "give a chat's, a mail's or a web hook's."
        )
    # Whatever a service does with its options, it does not connect before it sends.
    with guarded_sockets(allowed=lambda address: False):
        try:
            parts = url_to_dict(url)
            if parts and parts.get("schema") not in schemas:
                raise Refused(
                    f"Notifications are not sent to {parts.get('schema')}:// addresses: "
                    "give a chat's, a mail's or a web hook's."
                )
            plugin = Apprise.instantiate(url, asset=_asset()) if parts else None
        except ActverseError:
            raise
        except Exception:  # noqa: BLE001 (a service's parser may stumble over anything)
            plugin = None
    if plugin is None or not 0 < (plugin.port or 1) < 65536:
        raise BadInput(
            f"The {scheme}:// address is not complete or not valid: "
            "compare it with its service's page at https://appriseit.com/services/."
        )
    plugin.socket_connect_timeout = min(float(plugin.socket_connect_timeout), 10.0)
    plugin.socket_read_timeout = min(float(plugin.socket_read_timeout), 10.0)
    return plugin


@functools.cache
def allowed_schemas() -> frozenset[str]:
    """The schemes of the services that notifications may go to."""
    from apprise.manager_attachment import AttachmentManager
    from apprise.manager_plugins import NotificationManager
    from apprise.plugins.email.base import NotifyEmail

    # Apprise logs addresses and messages; what is worth knowing is told by our errors.
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    attachments = AttachmentManager()
    attachments.remove(*attachments.schemas(), unload=False)
    schemas: set[str] = set()
    for service in NotificationManager().plugins(include_disabled=False):
        if issubclass(service, NotifyEmail) or _speaks_http(service):
            schemas.update(_schemas(service))
    return frozenset(schemas - _WITH_FILES)


def _speaks_http(service: Any) -> bool:
    modules = (sys.modules.get(parent.__module__) for parent in service.__mro__)
    return any(
        hasattr(module, "requests")
        for module in modules
        if module and module.__name__.startswith("apprise.plugins.")
    )


def _schemas(service: Any) -> set[str]:
    schemas: set[str] = set()
    for names in (service.protocol, service.secure_protocol):
        schemas.update([names] if isinstance(names, str) else names or ())
    return schemas


@functools.cache
def _asset() -> "AppriseAsset":
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="actverse",
        app_desc="actverse",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        storage_mode="memory",
        secure_logging=True,
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
    )


def _check_literal(host: str) -> None:
    """Refuse an inner address that stands in the URL; names are checked when it is sent."""
    with guarded_sockets():
        try:
            socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""
