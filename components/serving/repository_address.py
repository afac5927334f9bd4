"""How Triton is told where its model repository lies.

Triton writes an S3 store of one's own as ``s3://https://HOST:PORT/bucket/prefix``, always with
the port
(https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md).
What does not match its pattern it takes for a bucket of AWS, so it is refused here.
"""

import os
import re
from urllib.parse import urlsplit

from components.errors import BadInput
from components.settings import Settings

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[0-9a-zA-Z.-]+")
_BUCKET = re.compile(r"[0-9a-z.-]+")
_FOLDER = re.compile(r"[0-9a-zA-Z._-]+")

# Where the credentials of an S3 store come from, for boto3 and Triton alike.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
)


def repository_address(settings: Settings) -> str:
    """What ``--model-repository`` is for ``{root}/models``: a folder or an S3 address.

    Raises:
        BadInput: if Triton cannot be told of such a bucket, prefix or endpoint.
    """
    if not settings.root.startswith("s3://"):
        return str(settings.layout.models())
    bucket, _, prefix = settings.root.removeprefix("s3://").rstrip("/").partition("/")
    folders = [*prefix.split("/"), "models"] if prefix else ["models"]
    if not _BUCKET.fullmatch(bucket) or not all(map(_FOLDER.fullmatch, folders)):
        raise BadInput(
            f"Triton cannot read {settings.root}: take a bucket of small letters, digits, '.' and "
            "'-', and a prefix of letters, digits, '.', '_', '-' and '/'."
        )
    place = "/".join([bucket, *folders])
    if not settings.s3_endpoint:
        return f"s3://{place}"
    try:
        parts = urlsplit(settings.s3_endpoint)
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError) as error:
        raise BadInput(
            "ACTVERSE_S3_ENDPOINT is no URL that Triton can read from: give one like "
            "https://host:9000."
        ) from error
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or parts.path.strip("/"):
        raise BadInput(
            "ACTVERSE_S3_ENDPOINT is no URL that Triton can read from: give a host's name or IPv4 "
            "address without a path, like https://host:9000."
        )
    return f"s3://{parts.scheme}://{host}:{port}/{place}"


def repository_environment(settings: Settings) -> dict[str, str]:
    """What a Triton that we start needs in its environment to read its repository."""
    if not settings.root.startswith("s3://"):
        return {}
    given = {name: os.environ[name] for name in _CREDENTIALS if name in os.environ}
    return {**given, "AWS_DEFAULT_REGION": settings.s3_region}
