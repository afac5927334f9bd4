"""Is the gateway alive, and is everything there that a task needs?"""

import json
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.problems import problem
from gateway.readiness import Readiness
from gateway.schemas import Problem

router = APIRouter(tags=["health"])

_PARTS = {"database": "", "mlflow": "It does not answer (ConnectError).", "worker:video": ""}


class Alive(BaseModel):
    """The gateway answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Every part is there."""

    status: Literal["ready"] = "ready"
    parts: dict[str, Literal["ok"]] = Field(examples=[dict.fromkeys(_PARTS, "ok")])


class NotReady(Problem):
    """Some parts are missing."""

    missing: list[str] = Field(description="the parts that are", examples=[["mlflow"]])
    parts: dict[str, str] = Field(
        description="every part: ok, or what is wrong with it",
        examples=[{name: wrong or "ok" for name, wrong in _PARTS.items()}],
    )


@router.get("/healthz", operation_id="healthz")
async def healthz() -> Alive:
    """Alive."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    response_model=Ready,
    responses={503: {"model": NotReady, "description": "A part is missing"}},
)
def readyz(request: Request) -> Ready | JSONResponse:
    """Ready: database, storage, broker, workers, MLflow and Triton are all there."""
    readiness: Readiness = request.app.state.readiness
    parts = {name: wrong or "ok" for name, wrong in sorted(readiness.parts().items())}
    missing = [name for name, state in parts.items() if state != "ok"]
    if not missing:
        return Ready(parts=dict.fromkeys(parts, "ok"))
    answer = problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "NotReady",
        "Not ready: " + " ".join(f"{name}: {parts[name]}" for name in missing),
        {"Retry-After": "2"},
    )
    content: dict[str, Any] = {**json.loads(bytes(answer.body)), "missing": missing, "parts": parts}
    answer.body = answer.render(content)
    answer.headers["content-length"] = str(len(answer.body))
    return answer
