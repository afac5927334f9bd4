"""What the client's methods return: plain dicts with these entries.

Moments are text in ISO 8601, UTC.
"""

from typing import Any, Literal, TypedDict

StepState = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled"]
TaskState = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]


class Step(TypedDict):
    """One step of a task; ``done`` and ``total`` count in its ``unit``."""

    name: str
    state: StepState
    percent: float
    done: float
    total: float
    unit: str
    remaining_seconds: float | None
    attempt: int
    started: str | None
    ended: str | None
    error: str
    facts: dict[str, Any]


class PipelineRun(TypedDict):
    """The pipeline run of a training; ``note`` says what holds it up, if anything."""

    backend: Literal["local", "kubeflow"]
    run_id: str
    url: str
    state: str
    note: str


class Status(TypedDict):
    """Where a task stands; ``revision`` grows with every change."""

    task_id: str
    user_id: str
    kind: str
    revision: int
    state: TaskState
    percent: float
    remaining_seconds: float | None
    error: str
    created: str
    updated: str
    steps: list[Step]
    pipeline_run: PipelineRun | None


class TaskSummary(TypedDict):
    """A task as it is listed."""

    task_id: str
    user_id: str
    kind: str
    state: TaskState
    percent: float
    error: str
    created: str
    updated: str


class KeptFolder(TypedDict):
    """A folder that a cancelled task has left; ``own``: among your own files."""

    folder: str
    own: bool
    files: int
    bytes: int


class Cancelled(TypedDict):
    """What became of a task that was to be cancelled."""

    task_id: str
    state: TaskState
    cancelled_steps: list[str]
    finished_steps: list[str]
    kept: list[KeptFolder]


class ResultFile(TypedDict):
    """A result file; ``link`` is presigned, or below the gateway."""

    path: str
    bytes: int
    modified: str
    media_type: str
    link: str


class Results(TypedDict):
    """A task's result files; ``complete``: it has written all of them."""

    task_id: str
    complete: bool
    files: list[ResultFile]


class OwnFile(TypedDict):
    """A file of yours."""

    key: str
    bytes: int
    modified: str


class Round(TypedDict):
    """A round of labelling and training; ``reopens``: the task whose frames it labels again."""

    round: int
    task_id: str
    state: TaskState
    reopens: str


class Labeling(TypedDict):
    """How far the labels of a task are.

    ``tool`` is folder, label-studio, or empty where labels were given; ``project`` the key of
    the folder they go to, or the tool's own id; ``url`` where people label, if not in a folder.
    ``error`` says what somebody has to mend first, ``note`` what else is to be known.
    """

    task_id: str
    labelled: int
    skipped: int
    total: int
    state: StepState
    error: str
    tool: str
    project: str
    url: str
    strategy: str
    preannotated_by: str
    note: str
    round: int
    rounds: list[Round]


class Training(TypedDict):
    """How far a training is."""

    task_id: str
    state: StepState
    current_epoch: int
    epochs: int
    metrics: dict[str, float]
    run_id: str
    run_url: str


class Model(TypedDict):
    """A model that is served; ``version`` answers, ``versions`` are loaded."""

    model: str
    version: int
    versions: list[int]
    task: Literal["detect", "pose"]
    names: list[str]
    keypoints: list[str]
    imgsz: int
    stride: int


class Key(TypedDict):
    """An API key, without its text."""

    id: int
    user_id: str
    role: Literal["user", "admin"]
    label: str
    prefix: str
    created: str
    revoked: str | None


class NewKey(Key):
    """A new API key; ``key`` is its text, told this once."""

    key: str


class Rule(TypedDict):
    """Who hears of which events where; ``test_error``: what went wrong with the last test."""

    id: int
    user_id: str
    url: str
    events: list[str]
    created: str
    tested: str | None
    test_error: str
