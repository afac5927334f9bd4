"""Webhooks: verified, remembered, answered at once; the work is done elsewhere."""

import json
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import IntegrityError

from components.errors import BadInput, Refused
from gateway.database import Sessions
from gateway.models import WebhookDelivery
from gateway.problems import Unauthorized
from gateway.schemas import Problem
from gateway.webhook import verify_delivery

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_MAX_BYTES = 64 * 1024


@router.post(
    "/mlflow",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="mlflowWebhook",
    responses={400: {"model": Problem}, 401: {"model": Problem}},
)
async def mlflow_webhook(request: Request) -> dict[str, str]:
    """Take an event of the model registry, signed with the webhook's secret."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            raise BadInput(f"The delivery is larger than {_MAX_BYTES} bytes.")
    secret = request.app.state.settings.webhook_secret.get_secret_value()
    try:
        delivery_id = verify_delivery(request.headers, body, secret)
    except Refused as error:
        raise Unauthorized(str(error)) from error
    try:
        payload = json.loads(body)
        event, data = f"{payload['entity']}.{payload['action']}", dict(payload["data"])
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput("The delivery is not an MLflow event: send entity, action, data.") from error
    new = await run_in_threadpool(_remember, request.app.state.sessions, delivery_id, event, data)
    return {"status": "accepted" if new else "known"}


def _remember(sessions: Sessions, delivery_id: str, event: str, data: dict[str, object]) -> bool:
    try:
        with sessions.begin() as session:
            session.add(
                WebhookDelivery(source="mlflow", delivery_id=delivery_id, event=event, data=data)
            )
    except IntegrityError:
        return False
    return True
