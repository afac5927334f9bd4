"""Webhooks: verified, remembered, answered at once; the work is done elsewhere."""

import hashlib
import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Header, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError

from components.errors import BadInput, Refused, TooLarge, Unauthorized
from gateway.api.starting import send_task
from gateway.database import Sessions
from gateway.models import WebhookDelivery, now
from gateway.openapi import problems
from gateway.rounds import look_at_labels
from gateway.webhook import DELIVERY_ID, SIGNATURE, TIMESTAMP, verify_delivery, verify_token

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_MAX_BYTES = 64 * 1024
_TASK_OF_PROJECT = re.compile(r".+-(t-[0-9a-f]{12})")


class Received(BaseModel):
    """The answer to a delivery."""

    status: Literal["accepted", "known"]


def _described(*headers: str) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in headers
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    }


@router.post(
    "/mlflow",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="mlflowWebhook",
    summary="Take an event of the model registry",
    responses=problems(400, 401),
    openapi_extra=_described(DELIVERY_ID, TIMESTAMP, SIGNATURE),
)
async def mlflow_webhook(request: Request) -> Received:
    """Signed with the webhook's secret, as MLflow does it."""
    body = await _body(request)
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
    new = await run_in_threadpool(
        _remember,
        request.app.state.sessions,
        WebhookDelivery(source="mlflow", delivery_id=delivery_id, event=event, data=data),
    )
    return Received(status="accepted" if new else "known")


@router.post(
    "/label-studio",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="labelStudioWebhook",
    summary="Take an event of Label Studio",
    responses=problems(400, 401),
    openapi_extra=_described("Authorization"),
)
async def label_studio_webhook(
    request: Request,
    background: BackgroundTasks,
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
) -> Received:
    """A hint that labels may be complete: they are looked at now instead of a little later."""
    body = await _body(request)
    secret = request.app.state.settings.webhook_secret.get_secret_value()
    try:
        verify_token(authorization, secret)
    except Refused as error:
        raise Unauthorized(str(error)) from error
    try:
        payload = json.loads(body)
        event, project = str(payload["action"]), payload.get("project") or {}
        title = str(project.get("title", ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput("The delivery is no event of Label Studio's: send action.") from error
    match = _TASK_OF_PROJECT.fullmatch(title)
    task_id = match[1] if match else ""
    delivery = WebhookDelivery(
        source="label-studio",
        delivery_id=hashlib.sha256(body).hexdigest(),
        event=event[:64].replace("\0", ""),
        data={"task_id": task_id},
        handled=now(),
    )
    new = await run_in_threadpool(_remember, request.app.state.sessions, delivery)
    if task_id:
        for looking in await run_in_threadpool(_look_now, request.app.state.sessions, task_id):
            background.add_task(send_task, request.app.state, looking)
    return Received(status="accepted" if new else "known")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            raise TooLarge(f"The delivery is larger than {_MAX_BYTES} bytes: send a smaller one.")
    return bytes(body)


def _remember(sessions: Sessions, delivery: WebhookDelivery) -> bool:
    try:
        with sessions.begin() as session:
            session.add(delivery)
    except IntegrityError:
        return False
    return True


def _look_now(sessions: Sessions, task_id: str) -> list[str]:
    with sessions.begin() as session:
        return look_at_labels(session, task_id)
