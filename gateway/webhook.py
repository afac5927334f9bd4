"""Webhooks: is a delivery really the registry's, or a pipeline run's, and is it fresh?

Both sign as MLflow does (``components.delivery_signature``) and differ in their headers'
names. The check is over the bytes as they came, in constant time; a delivery older than
five minutes is refused, and the ids of younger ones are remembered, so that a recorded one
cannot be played again.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

from components.delivery_signature import sign_delivery
from components.errors import Refused

WINDOW_SECONDS = 300
_LONGEST_ID = 128


@dataclass(frozen=True)
class SignedHeaders:
    """Under which names, in lower case, a sender says who it is."""

    delivery_id: str
    timestamp: str
    signature: str


MLFLOW = SignedHeaders("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
PIPELINES = SignedHeaders("x-actverse-delivery-id", "x-actverse-timestamp", "x-actverse-signature")


def verify_delivery(
    headers: Mapping[str, str], body: bytes, secret: str, names: SignedHeaders = MLFLOW
) -> str:
    """Return the id of a delivery whose signature and age are right.

    Args:
        headers: by lower-case name.
        body: the raw bytes.
        secret: the webhook's, at least one character.
        names: those of the sender's headers.

    Raises:
        Refused: if a header is missing, the time is off by more than five minutes, or the
            signature is not the secret's.
    """
    delivery_id, timestamp = headers.get(names.delivery_id, ""), headers.get(names.timestamp, "")
    named = 0 < len(delivery_id) <= _LONGEST_ID
    if not (secret and named and timestamp.isdecimal() and len(timestamp) < 16):
        raise Refused("The delivery is not signed: send it with the webhook's secret.")
    if abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
        raise Refused("The delivery is older than five minutes: send it anew.")
    expected = sign_delivery(delivery_id, timestamp, body, secret)
    if not hmac.compare_digest(headers.get(names.signature, "").encode(), expected.encode()):
        raise Refused("The delivery's signature is wrong: use the webhook's secret.")
    return delivery_id


def label_studio_token(secret: str) -> str:
    """What Label Studio is to send as its bearer token: it signs nothing, but takes headers.

    Not the secret itself: who sees the one cannot sign as the registry.
    """
    return hmac.new(secret.encode(), b"label-studio", hashlib.sha256).hexdigest()


def verify_token(authorization: str, secret: str) -> None:
    """Raise Refused unless an Authorization header holds Label Studio's token."""
    expected = f"Bearer {label_studio_token(secret)}"
    if not (secret and hmac.compare_digest(authorization.encode(), expected.encode())):
        raise Refused("The delivery has not Label Studio's token: set it in the webhook's headers.")
