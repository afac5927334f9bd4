"""Tags of container images: what an OCI registry takes, and what names one version."""

import re

from components.errors import BadInput

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def checked_image_tag(tag: str) -> str:
    """Return ``tag`` if it names one version of an image.

    Raises:
        BadInput: if it is empty, no OCI tag, or ``latest``, which is another image each day.
    """
    if not _TAG.fullmatch(tag):
        raise BadInput(
            f"The image tag {tag!r} cannot be used: take letters, digits, '_', '.' and '-', at "
            "most 128, and begin with none of the last two."
        )
    if tag == "latest":
        raise BadInput("The image tag 'latest' names no version: give the images' own, like 0.1.0.")
    return tag
