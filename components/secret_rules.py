"""Which secrets are none: empty, short, or known to everybody."""

from urllib.parse import unquote, urlsplit

SHORTEST = 32
_WELL_KNOWN = frozenset(
    [
        "actverse",
        "admin",
        "changeit",
        "changeme",
        "default",
        "guest",
        "minioadmin",
        "password",
        "postgres",
        "rabbitmq",
        "redis",
        "root",
        "secret",
        "test",
        "user",
    ]
)


def weak_secret(secret: str) -> str:
    """Why a secret keeps nobody out, as the end of a sentence; empty if it may serve."""
    if not secret:
        return "is empty"
    if _plain(secret) in _WELL_KNOWN or len(set(secret)) < 8:
        return "is known to everybody"
    if len(secret) < SHORTEST:
        return f"has only {len(secret)} characters"
    return ""


def weak_password(url: str) -> str:
    """Why the password in a URL keeps nobody out; empty if it may serve, or there is none."""
    parts = urlsplit(url)
    password = unquote(parts.password or "")
    if password and (_plain(password) in _WELL_KNOWN or password == unquote(parts.username or "")):
        return "holds a password that is known to everybody"
    return ""


def _plain(secret: str) -> str:
    """``Change-Me!`` is as well known as ``changeme``."""
    return "".join(letter for letter in secret.lower() if letter.isalpha())
