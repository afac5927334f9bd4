"""What each task of a pipeline is given besides its step: image, resources, retries, caching.

Nothing here changes what a step does; the local runners heed the retries only.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from components.settings import Settings
from pipelines.names import unusable
from pipelines.tolerations import parse_toleration

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask

CONFIG_KEYS = (
    "ACTVERSE_SHAPE",
    "ACTVERSE_WITHOUT_SECRETS",
    "ACTVERSE_ROOT",
    "ACTVERSE_MLFLOW_URI",
    "ACTVERSE_TRITON_URL",
    "ACTVERSE_GATEWAY_URI",
)
"""Variables that the ConfigMap must hold: a pod does not start without them."""

OPTIONAL_CONFIG_KEYS = (
    "ACTVERSE_S3_ENDPOINT",
    "ACTVERSE_S3_REGION",
    "ACTVERSE_MLFLOW_PUBLIC_URL",
    "ACTVERSE_CHAMPION_ALIAS",
    "ACTVERSE_PROMOTION_TIMEOUT",
    "ACTVERSE_PROMOTION_MIN_GAIN",
    "ACTVERSE_TRITON_SHARED_MEMORY",
    "ACTVERSE_MAX_VIDEO_BYTES",
    "ACTVERSE_DOWNLOAD_TIMEOUT",
    "ACTVERSE_ALLOW_PRIVATE_URLS",
    "ACTVERSE_PIPELINE_RETRIES",
    "ACTVERSE_SERVICE_PATIENCE",
    "ACTVERSE_LOG_FORMAT",
)
"""Variables that it may hold."""

STORAGE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of the storage's Secret; each is the variable's name too."""

REPORT_KEY, REPORT_VARIABLE = "pipeline-secret", "ACTVERSE_PIPELINE_SECRET"
"""The key of the exit handler's Secret, and its variable."""

USER = 10001
"""The images' user ``actverse``."""

LABELS = {
    "app.kubernetes.io/part-of": "actverse",
    "app.kubernetes.io/component": "pipeline-step",
}
"""On every pod: what a NetworkPolicy knows them by."""

_BACKOFF_SECONDS, _BACKOFF_FACTOR = 15, 2
_AMOUNT = re.compile(r"[1-9]\d*([KMGTPE]i?)?")
_CPUS = re.compile(r"(?=.*[1-9])(\d*\.?\d+|\d+m)")
_HOUR = 3600
_SHARED_MEMORY = "/dev/shm"  # noqa: S108


@dataclass(frozen=True)
class TaskPolicy:
    """How one task is run.

    Attributes:
        display_name: for people.
        image: ``trainer`` for what loads a model.pt.
        size: which of the Settings say how much it may use.
        retries: the most repeats, where Settings allow so many; 0: a repeat would not help,
            or would do harm.
        cached: whether it is a pure function of its parameters.
    """

    display_name: str
    image: Literal["light", "trainer"] = "light"
    size: Literal["pipeline", "analysis", "training"] = "pipeline"
    retries: int = 10
    cached: bool = False


POLICIES = {
    # Reads the storage only, which may be away for a moment.
    "dataset": TaskPolicy("Dataset", cached=True),
    # A repeat takes up a training that was finished, and lost MLflow or the storage only behind
    # it; what diverged would diverge again, for hours.
    "train": TaskPolicy("Train", image="trainer", size="training", retries=1),
    # MLflow, with which it keeps its report too, may come back.
    "export": TaskPolicy("Export", image="trainer", size="analysis", cached=True),
    # What was missed stays missed; a storage that was away is worth a second look.
    "parity": TaskPolicy("Parity gate", retries=1),
    # The same file gives the same version again.
    "register": TaskPolicy("Register"),
    "gate": TaskPolicy("Promotion gate", size="analysis"),
    # It has waited already, and asking again would move an alias that somebody may have moved
    # since.
    "deploy": TaskPolicy("Deploy", retries=0),
    # It repeats what can be repeated itself, and is never the reason that a run fails.
    "run_end": TaskPolicy("Tell the gateway", retries=0),
    # A video's failure is an outcome here, so what is repeated is what no outcome could tell.
    "fetch": TaskPolicy("Fetch and convert", size="analysis"),
    "analyse": TaskPolicy("Analyse", size="analysis"),
    "tables": TaskPolicy("CSV, JSON and chunks"),
    "overlay": TaskPolicy("Overlaid video", size="analysis"),
    "notebook": TaskPolicy("Notebook"),
    # It fails where every video has failed, which a repeat does not change.
    "summary": TaskPolicy("Summary of all videos", retries=0),
}
"""By component. Only what depends on its parameters alone is cached: the others write to
servers, or read what changes without a parameter changing."""


def apply_policy(task: "PipelineTask", name: str, settings: Settings) -> None:
    """Configure a task as ``POLICIES`` and the Settings say.

    Raises:
        BadInput: naming the setting, for an amount or a toleration that cannot be read.
    """
    from kfp import kubernetes

    policy = POLICIES[name]
    task.set_display_name(policy.display_name)
    task.set_container_image(
        settings.trainer_image if policy.image == "trainer" else settings.light_image
    )
    task.set_caching_options(policy.cached)
    seconds = _seconds(name, policy, settings)
    if retries := min(policy.retries, settings.pipeline_retries):
        task.set_retry(
            retries,
            backoff_duration=f"{_BACKOFF_SECONDS}s",
            backoff_factor=float(_BACKOFF_FACTOR),
            backoff_max_duration=f"{_all_attempts_seconds(retries, seconds)}s",
        )
    _give(task, policy.size, settings)
    for key, value in LABELS.items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds)
    config_map = settings.pipeline_config_map
    kubernetes.use_config_map_as_env(task, config_map, {key: key for key in CONFIG_KEYS})
    kubernetes.use_config_map_as_env(
        task, config_map, {key: key for key in OPTIONAL_CONFIG_KEYS}, optional=True
    )
    # Optional: a cluster may give its pods the storage by their service account, and a step
    # that is let in nowhere says so, where a pod that lacks a Secret would just not start.
    kubernetes.use_secret_as_env(
        task, settings.pipeline_storage_secret, {key: key for key in STORAGE_KEYS}, optional=True
    )
    if name == "run_end":
        kubernetes.use_secret_as_env(
            task, settings.pipeline_report_secret, {REPORT_KEY: REPORT_VARIABLE}, optional=True
        )
    if name == "train":
        _give_for_training(task, settings)


def _give(task: "PipelineTask", size: str, settings: Settings) -> None:
    """CPUs and memory: what is asked for is also the limit."""
    cpu, memory = f"{size}_cpu", f"{size}_memory"
    cpus = _checked(settings, cpu, _CPUS, "a number of CPUs like 2 or 500m")
    task.set_cpu_request(cpus).set_cpu_limit(cpus)
    amount = _checked(settings, memory, _AMOUNT, "an amount of memory like 2Gi")
    task.set_memory_request(amount).set_memory_limit(amount)


def _give_for_training(task: "PipelineTask", settings: Settings) -> None:
    from kfp import kubernetes

    size = _checked(settings, "training_shared_memory", _AMOUNT, "an amount of memory like 4Gi")
    kubernetes.empty_dir_mount(task, "shared-memory", _SHARED_MEMORY, "Memory", size)
    if not settings.training_gpus:
        return
    task.set_accelerator_type(settings.gpu_type).set_accelerator_limit(settings.training_gpus)
    for key, value in settings.gpu_node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for text in settings.gpu_tolerations:
        toleration = parse_toleration(text)
        kubernetes.add_toleration(
            task,
            key=toleration.key,
            operator=toleration.operator,
            value=toleration.value or None,
            effect=toleration.effect,
        )


def _seconds(name: str, policy: TaskPolicy, settings: Settings) -> int:
    """After how long a pod is ended, whatever it waits for; its images are there by then."""
    if name == "deploy":
        return int(settings.promotion_timeout) + _HOUR
    if name == "fetch":
        return int(settings.download_timeout + settings.step_timeout)
    return _HOUR if policy.size == "pipeline" else int(settings.step_timeout)


def _all_attempts_seconds(retries: int, seconds: int) -> int:
    """How long a task may take with all its attempts and the waits between them.

    Argo begins no attempt, and ends the one that runs, that long after the first one began: it
    bounds all of them, not a single wait (``backoff.maxDuration`` of its ``retryStrategy``). An
    hour each is for nodes and images that are waited for.
    """
    waits = _BACKOFF_SECONDS * (_BACKOFF_FACTOR**retries - 1) // (_BACKOFF_FACTOR - 1)
    return (retries + 1) * (seconds + _HOUR) + waits


def _checked(settings: Settings, field: str, form: re.Pattern[str], wanted: str) -> str:
    value: str = getattr(settings, field)
    if not form.fullmatch(value):
        raise unusable(settings, field, wanted)
    return value
