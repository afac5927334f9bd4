"""What a pipeline component has around its step: the settings, the storage, the report.

In a pod the storage is the installation's own, so inputs are brought and outputs are kept.
On one machine the gateway has brought them, and names the local folder as the storage.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.errors import StorageFull, Unavailable
from components.layout import Layout
from components.patience import NO_PATIENCE, Patience
from components.settings import Settings
from components.steps import Progress, reported
from components.storage import Storage, open_storage

logger = logging.getLogger("actverse.pipeline")

_KEPT_EVERY_SECONDS = 2.0
BEAT_SECONDS = 30.0
"""How often at least a step's report is stored: who hears nothing of it knows that it is gone."""


@dataclass(frozen=True)
class PipelineStep:
    """What a component is given.

    Attributes:
        storage: brings what the step reads, keeps what others are to have.
        progress: tells how far the step is, in its own unit.
        patience: waits for a service of ours that is away, and says so in the step's report.
    """

    settings: Settings
    storage: Storage
    progress: Progress
    patience: Patience = NO_PATIENCE

    @property
    def layout(self) -> Layout:
        """Where the files lie on this machine."""
        return self.storage.layout


@contextmanager
def pipeline_step(name: str, task_id: str) -> Iterator[PipelineStep]:
    """Surround a component: its report is written in the task's ``steps/`` and stored.

    An error is recorded in the report and raised on.

    Raises:
        Unavailable: if the storage does not take the report of the end.
    """
    settings = Settings()
    storage = open_storage(settings)
    last = 0.0

    def keep(report: Path) -> None:
        nonlocal last
        if time.monotonic() - last < _KEPT_EVERY_SECONDS:
            return
        last = time.monotonic()
        try:
            storage.keep(report)
        except (StorageFull, Unavailable) as error:
            # Word of how far it is must not end a training.
            logger.warning("the report of %s was not stored: %s", name, error)

    folder = storage.layout.step_reports(task_id)
    try:
        with reported(name, folder, keep, BEAT_SECONDS) as progress:
            patience = Patience(settings.service_patience, progress.waits)
            yield PipelineStep(settings, storage, progress, patience)
    finally:
        storage.keep(folder / f"{name}.json")
