"""The kinds of tasks and their steps: in which order, on which queue, in which words."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.events import EventName

TRAINING = "training"


class Queue(StrEnum):
    """The queues; each may have workers of its own.

    Those of ``IMPORT`` export checkpoints, for which they need the image with torch.
    """

    VIDEO = "video"
    LABELING = "labeling"
    INFERENCE = "inference"
    IMPORT = "import"
    NOTIFICATION = "notification"


@dataclass(frozen=True)
class StepPlan:
    """What the gateway knows of a step besides its function.

    Attributes:
        queue: whose workers run it.
        unit: what its progress counts, in the plural; empty where it does not.
        begun, ended: the events of its beginning and its success, if it has any.
        foreign: whether it runs a model that somebody brings, which may be made to do harm.
    """

    queue: Queue
    unit: str = ""
    begun: EventName | None = None
    ended: EventName | None = None
    foreign: bool = False


STEPS = {
    "download": StepPlan(Queue.VIDEO, "bytes", ended=EventName.VIDEO_DOWNLOADED),
    "validate": StepPlan(Queue.VIDEO, "frames"),
    "convert": StepPlan(Queue.VIDEO, "frames"),
    "extract": StepPlan(Queue.VIDEO, "frames", ended=EventName.FRAMES_EXTRACTED),
    "deliver_video": StepPlan(Queue.VIDEO, "bytes"),
    "deliver_frames": StepPlan(Queue.VIDEO, "frames"),
    "preannotate": StepPlan(Queue.INFERENCE, "frames"),
    "labeling": StepPlan(Queue.LABELING, "frames", ended=EventName.LABELING_REQUESTED),
    "labels": StepPlan(Queue.LABELING, "labels", ended=EventName.LABELING_COMPLETED),
    "import_labels": StepPlan(Queue.LABELING, "images"),
    "register": StepPlan(Queue.INFERENCE, "frames", foreign=True),
    "bring": StepPlan(Queue.IMPORT, "frames", foreign=True),
    "deploy": StepPlan(
        Queue.INFERENCE,
        begun=EventName.MODEL_DEPLOYMENT_REQUESTED,
        ended=EventName.MODEL_DEPLOYED,
        foreign=True,
    ),
    "analyse": StepPlan(
        Queue.INFERENCE,
        "frames",
        begun=EventName.INFERENCE_REQUESTED,
        ended=EventName.INFERENCE_COMPLETED,
    ),
    "csv": StepPlan(Queue.INFERENCE),
    "json": StepPlan(Queue.INFERENCE),
    "chunks": StepPlan(Queue.INFERENCE, "chunks"),
    "overlay": StepPlan(Queue.INFERENCE, "frames"),
    "notebook": StepPlan(Queue.INFERENCE),
    "results": StepPlan(Queue.INFERENCE, ended=EventName.RESULTS_UPLOADED),
}

_Stages = tuple[tuple[str, ...], ...]
_FETCH: _Stages = (("download",), ("validate",), ("convert",))
_ANALYSE: _Stages = (
    ("analyse",),
    ("csv", "json", "chunks", "overlay", "notebook"),
    ("results",),
)


def queue_of(name: str) -> Queue | None:
    """The queue whose workers run a step; None for the training, which the watcher takes."""
    return STEPS[name].queue if name in STEPS else None


# Steps in one bracket run side by side.
FLOWS: dict[str, _Stages] = {
    "loop": (
        *_FETCH,
        ("extract",),
        ("preannotate",),
        ("labeling",),
        ("labels",),
        (TRAINING,),
        *_ANALYSE,
    ),
    "download": (("download",), ("validate",), ("deliver_video",)),
    "upload": (("download",), ("deliver_video",)),
    "extract": (*_FETCH, ("extract",), ("deliver_frames",)),
    "labeling": (("labeling",), ("labels",)),
    "labels": (("import_labels",),),
    "round": (
        ("extract",),
        ("preannotate",),
        ("labeling",),
        ("labels",),
        (TRAINING,),
        *_ANALYSE,
    ),
    "reopened": (("labeling",), ("labels",), (TRAINING,), *_ANALYSE),
    "training": (("labels",), (TRAINING,)),
    "deployment": (("register",), ("deploy",)),
    "model": (("bring",), ("deploy",)),
    "inference": (*_FETCH, *_ANALYSE),
}
