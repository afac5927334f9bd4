"""Where a video comes from: a URL, or a key of the storage."""

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(source: str) -> bool:
    """Whether a video's source is a URL, and no key of the storage."""
    return bool(_URL.match(source))


def shown_source(source: str) -> str:
    """A source without the query and fragment of a URL, which may be what opens it."""
    return re.split(r"[?#]", source, maxsplit=1)[0] if is_url(source) else source
