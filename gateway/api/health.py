"""Is the gateway alive, and is everything there that a task needs?"""

from datetime import timedelta

from fastapi import APIRouter

from components.errors import Unavailable
from gateway.api.dependencies import SessionDep
from gateway.models import WORKER_HEARTBEAT, Heartbeat, now
from gateway.schemas import Problem

router = APIRouter(tags=["health"])

_FRESH = timedelta(seconds=10)


@router.get("/healthz", operation_id="healthz")
def healthz() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="readyz", responses={503: {"model": Problem}})
def readyz(session: SessionDep) -> dict[str, str]:
    """Ready: the database answers and a worker has shown itself in the last ten seconds."""
    heartbeat = session.get(Heartbeat, WORKER_HEARTBEAT)
    if heartbeat is None or now() - heartbeat.seen > _FRESH:
        raise Unavailable("No worker has shown itself for ten seconds: start one.")
    return {"status": "ready"}
