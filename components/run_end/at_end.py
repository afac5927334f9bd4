"""What an exit handler does: nothing that could hide how the run itself ended."""

import logging

from components.errors import ActverseError, NotFound
from components.run_end.run_end import run_end, tell_gateway
from components.settings import Settings
from components.storage import open_storage

logger = logging.getLogger("actverse.pipeline")


def at_end(pipeline: str, task_id: str, *, run: str, state: str, message: str) -> None:
    """Read what the steps said and tell the gateway how the run ended; see ``run_end``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings()
    storage = open_storage(settings)
    reports = storage.layout.step_reports(task_id)
    try:
        storage.bring(reports)
    except NotFound:
        logger.info("No step of the run has said anything.")
    except ActverseError as error:
        logger.warning("What the steps said cannot be read: %s", error)
    end = run_end(pipeline, task_id, run=run, state=state, message=message, reports=reports)
    if end.error:
        logger.info("The run ended as %s: %s", end.state, end.error)
    tell_gateway(
        end,
        gateway_uri=settings.gateway_uri,
        secret=settings.pipeline_secret.get_secret_value(),
    )
