"""Webhooks: verified, remembered, answered at once; the work is done elsewhere."""

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Header, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, SecretStr, StringConstraints, ValidationError
from sqlalchemy.exc import IntegrityError

from components.errors import BadInput, Refused, TooLarge, Unauthorized
from components.json_text import check_storable, read_json
from gateway.api.starting import send_task
from gateway.database import Sessions
from gateway.models import WebhookDelivery, now
from gateway.openapi import problems
from gateway.pipeline_runs import hint_at_run
from gateway.rounds import look_at_labels
from gateway.webhook import (
    MLFLOW,
    PIPELINES,
    SignedHeaders,
    verify_delivery,
    verify_token,
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_MAX_BYTES = 64 * 1024
_TASK_OF_PROJECT = re.compile(r".+-(t-[0-9a-f]{12})")


class Received(BaseModel):
    """The answer to a delivery."""

    status: Literal["accepted", "known"]


# PostgreSQL takes no null character.
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=4096)]


class RunEnded(BaseModel):
    """What a pipeline run says at its end, as its exit handler sends it."""

    pipeline: Literal["training", "analysis"]
    task_id: _Text
    run: _Text
    state: Annotated[str, StringConstraints(pattern=r"^[A-Z_]{1,32}$")]
    error: str = ""


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
    openapi_extra=_described(MLFLOW.delivery_id, MLFLOW.timestamp, MLFLOW.signature),
)
async def mlflow_webhook(request: Request) -> Received:
    """Signed with the webhook's secret, as MLflow does it."""
    body = await _body(request)
    delivery_id = _verified(request, body, request.app.state.settings.webhook_secret, MLFLOW)
    try:
        payload = read_json(body)
        event, data = f"{payload['entity']}.{payload['action']}"[:64], dict(payload["data"])
        check_storable([event, data])
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
        payload = read_json(body)
        event, project = str(payload["action"])[:64], payload.get("project") or {}
        title = str(project.get("title", ""))
        check_storable(event)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput("The delivery is no event of Label Studio's: send action.") from error
    match = _TASK_OF_PROJECT.fullmatch(title)
    task_id = match[1] if match else ""
    delivery = WebhookDelivery(
        source="label-studio",
        delivery_id=hashlib.sha256(body).hexdigest(),
        event=event,
        data={"task_id": task_id},
        handled=now(),
    )
    new = await run_in_threadpool(_remember, request.app.state.sessions, delivery)
    if task_id:
        for looking in await run_in_threadpool(_look_now, request.app.state.sessions, task_id):
            background.add_task(send_task, request.app.state, looking)
    return Received(status="accepted" if new else "known")


@router.post(
    "/pipelines",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="pipelinesWebhook",
    summary="Take the end of a pipeline run",
    responses=problems(400, 401),
    openapi_extra=_described(PIPELINES.delivery_id, PIPELINES.timestamp, PIPELINES.signature),
)
async def pipelines_webhook(request: Request) -> Received:
    """A hint that a run has ended: it is looked at now instead of a little later."""
    body = await _body(request)
    delivery_id = _verified(request, body, request.app.state.settings.pipeline_secret, PIPELINES)
    try:
        told = RunEnded.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(
            "The delivery is not the end of a pipeline run: send pipeline, task_id, run, state."
        ) from error
    delivery = WebhookDelivery(
        source="pipelines",
        delivery_id=delivery_id,
        event=f"{told.pipeline}.{told.state}",
        data=told.model_dump(exclude={"error"}),
        handled=now(),
    )
    new = await run_in_threadpool(_remember, request.app.state.sessions, delivery)
    if new:
        await run_in_threadpool(_look_at_run, request.app.state.sessions, told.task_id)
    return Received(status="accepted" if new else "known")


def _verified(request: Request, body: bytes, secret: SecretStr, names: SignedHeaders) -> str:
    try:
        return verify_delivery(request.headers, body, secret.get_secret_value(), names)
    except Refused as error:
        raise Unauthorized(str(error)) from error


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


def _look_at_run(sessions: Sessions, task_id: str) -> None:
    with sessions.begin() as session:
        hint_at_run(session, task_id)


def _look_now(sessions: Sessions, task_id: str) -> list[str]:
    with sessions.begin() as session:
        return look_at_labels(session, task_id)
