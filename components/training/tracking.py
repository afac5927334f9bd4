"""Where a training is tracked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.patience import NO_PATIENCE, Patience

EXPERIMENT = "actverse"
"""The experiment of all trainings of tasks."""
TASK_TAG = "task_id"
"""The tag that says which task a run is of."""


@dataclass(frozen=True)
class Tracking:
    """The MLflow run that a training writes to.

    Attributes:
        uri: the tracking server's http(s) URL.
        experiment: its name; made if missing. Not looked at where a run id is given.
        run_id: the run to bind to, in whatever state it is; None makes a new one.
        run_name: name of the run.
        tags: tags of the run.
        patience: waits for the server before the training and behind it.
    """

    uri: str
    experiment: str
    run_id: str | None = None
    run_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = NO_PATIENCE
