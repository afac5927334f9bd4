"""How a webhook's delivery is signed: MLflow's way, which ours follow too.

HMAC-SHA256 over ``{delivery id}.{timestamp}.{raw body}`` with the secret as UTF-8, written as
``v1,<base64>`` (https://mlflow.org/docs/latest/ml/webhooks/).
"""

import base64
import hashlib
import hmac


def sign_delivery(delivery_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """The value of the signature header of a delivery.

    Args:
        delivery_id: of this delivery alone; a repeat has the same.
        timestamp: seconds since the epoch, decimal.
        body: the raw bytes.
        secret: the webhook's.
    """
    content = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
