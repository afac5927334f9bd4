"""Metrics, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.metrics import GatewayMetrics

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    gathered: GatewayMetrics = request.app.state.metrics
    return Response(gathered.text(), media_type=CONTENT_TYPE_LATEST)
