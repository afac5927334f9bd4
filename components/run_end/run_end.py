"""Telling the gateway that a pipeline run has ended, well or badly.

It is a hint, signed as the registry's webhook is: the gateway looks at the run itself. So
nothing here fails a run, and a gateway that is away only learns of the end later.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from components.delivery_signature import sign_delivery
from components.steps import read_reports

logger = logging.getLogger("actverse.pipeline")

SIGNATURE = "X-Actverse-Signature"
DELIVERY_ID = "X-Actverse-Delivery-Id"
TIMESTAMP = "X-Actverse-Timestamp"

_PATH = "/webhooks/pipelines"
_WAITS = (1.0, 4.0, 15.0)
"""Seconds before each repeat."""
_TIMEOUT = 10.0
_PASSING = frozenset({408, 425, 429})
_STATES = {"CANCELED": "CANCELLED"}


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        pipeline: ``training`` or ``analysis``.
        task_id: what it was run for.
        run: its resource name, as Kubeflow Pipelines gives it.
        state: ``SUCCEEDED``, ``FAILED`` or ``CANCELLED``.
        error: one sentence, empty unless it failed.
    """

    pipeline: str
    task_id: str
    run: str
    state: str
    error: str = ""


def run_end(
    pipeline: str, task_id: str, *, run: str, state: str, message: str, reports: Path
) -> RunEnd:
    """How a run ended, in the words of the step that failed.

    Args:
        pipeline, task_id, run: as in ``RunEnd``.
        state: as Kubeflow Pipelines calls it.
        message: what it says of a failure, for want of a step's own sentence.
        reports: the folder of the steps' reports; it need not exist.
    """
    state = _STATES.get(state.upper(), state.upper())
    if state == "SUCCEEDED":
        return RunEnd(pipeline, task_id, run, state)
    failed = [report for report in read_reports(reports) if report.state == "failed"]
    error = max(failed, key=lambda report: report.ended).error if failed else message
    return RunEnd(pipeline, task_id, run, state, error)


def tell_gateway(
    end: RunEnd, *, gateway_uri: str, secret: str, wait: Callable[[float], None] = time.sleep
) -> bool:
    """POST a run's end to the gateway; what stands in the way is logged.

    An answer of 5xx and a connection that fails are repeated a few times, with the same
    delivery id; any other refusal is final. The certificate of an https address is verified.

    Args:
        end: what is told.
        gateway_uri: http(s)://host:port; empty: nobody is told.
        secret: signs the delivery; empty: nobody is told.
        wait: called with the seconds before a repeat.

    Returns:
        Whether the gateway took it.
    """
    if not gateway_uri or not secret:
        missing = "ACTVERSE_PIPELINE_SECRET" if gateway_uri else "ACTVERSE_GATEWAY_URI"
        logger.info("The run's end is not told to the gateway: %s is not set.", missing)
        return False
    body = json.dumps(asdict(end)).encode()
    delivery_id, timestamp = uuid.uuid4().hex, str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        SIGNATURE: sign_delivery(delivery_id, timestamp, body, secret),
        DELIVERY_ID: delivery_id,
        TIMESTAMP: timestamp,
    }
    fault = ""
    for seconds in (0.0, *_WAITS):
        if seconds:
            wait(seconds)
        try:
            answer = httpx.post(
                gateway_uri.rstrip("/") + _PATH, content=body, headers=headers, timeout=_TIMEOUT
            )
        except httpx.TransportError as error:
            fault = str(error) or type(error).__name__
            continue
        except httpx.InvalidURL as error:
            fault = str(error)
            break
        if answer.is_success:
            logger.info("The gateway was told that the run ended as %s.", end.state)
            return True
        fault = f"status {answer.status_code}"
        if answer.status_code < 500 and answer.status_code not in _PASSING:
            break
    logger.warning(
        "The gateway at %s did not take the run's end (%s): it will find it out by itself.",
        gateway_uri,
        fault,
    )
    return False
