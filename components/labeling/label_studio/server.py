"""How the real Label Studio is started, without a container and without a person.

It runs in an environment of its own, ``settings.label_studio_env``, on SQLite in a folder of
its own. It reports to nobody: no telemetry, no look for newer versions, no error reports.
What is left is a tip of the day that its server fetches from GitHub for some of its pages.
"""

import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from components.errors import NotFound
from components.settings import Settings

# It reads its settings from bare names too, such as HOST, DEBUG and PASSWORD: what it may
# see of our environment is named here.
_PASSED_ON = ("LANG", "LC_ALL", "TMPDIR", "TZ")

# With these it reads the images of an S3 storage, and nothing else.
_S3_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_CA_BUNDLE",
)

# Addresses that are no host of the public internet (RFC 6890 and its successors).
_NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/127",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
)


def label_studio_launch(
    settings: Settings, *, port: int, work: Path, username: str, password: str, token: str
) -> tuple[list[str], dict[str, str]]:
    """Prepare a Label Studio that listens on ``settings.host`` only.

    Strangers cannot sign up. It serves the images below the storage's local root to who is
    logged in, as far as a project covers their folder. It may send to ``settings.host`` and
    the S3 endpoint, where the gateway and the storage are, but to no other private address.
    The key that signs its sessions and tokens is made at the first start and stays in its
    data folder, as does the user.

    Args:
        settings: ``host``, ``label_studio_env``, the layout and the storage are read.
        port: a free port on that host; where it is taken the process ends.
        work: a folder of this server's own; its data lie in ``data/``.
        username: an e-mail address.
        password, token: for the user, who is made at the first start; later ones change
            nothing. The token is a legacy one, at most 40 characters.

    Returns:
        Program and arguments, and the whole environment of the process: none of our secrets,
        but S3 credentials where the storage is S3.

    Raises:
        NotFound: if Label Studio's environment is missing.
    """
    program = settings.label_studio_env / "bin" / "label-studio"
    if not program.is_file():
        raise NotFound(
            f"Label Studio is not installed in {settings.label_studio_env}: install "
            "requirements/label-studio.txt there, or name another environment with "
            "ACTVERSE_LABEL_STUDIO_ENV."
        )
    data = work / "data"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.layout.root.mkdir(parents=True, exist_ok=True)
    argv = [
        *(str(program), "start", "--no-browser", "--log-level", "WARNING"),
        *("--port", str(port), "--internal-host", settings.host),
        *("--data-dir", str(data)),
        # All it does is not to take another port where this one is taken.
        "--debug",
    ]
    names = _PASSED_ON + (_S3_CREDENTIALS if settings.root.startswith("s3://") else ())
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {
        "PATH": f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(work),
        # Read before the argument of the same meaning is.
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_USERNAME": username,
        "LABEL_STUDIO_PASSWORD": password,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_CORS_ALLOW_ALL_ORIGINS": "false",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(settings.layout.root),
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "true",
        "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS": "false",
        "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS": ",".join(_closed(settings)),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "PYTHONUNBUFFERED": "1",
    }
    return argv, env


def _closed(settings: Settings) -> list[str]:
    """The networks that it may not send to: all that are not public but our own hosts'."""
    hosts = [settings.host, urlsplit(settings.gateway_uri).hostname]
    hosts.append(urlsplit(settings.s3_endpoint).hostname)
    ours = [ipaddress.ip_address(address) for host in hosts if host for address in _resolved(host)]
    networks = [ipaddress.ip_network(network) for network in _NOT_PUBLIC]
    return [str(one) for one in networks if not any(address in one for address in ours)]


def _resolved(host: str) -> set[str]:
    try:
        return {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def label_studio_ready(url: str, timeout: float = 2.0) -> bool:
    """Whether a Label Studio answers at ``http://host:port``.

    Args:
        timeout: seconds.
    """
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health/", timeout=timeout, trust_env=False)
        return answer.is_success and answer.json() == {"status": "UP"}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
