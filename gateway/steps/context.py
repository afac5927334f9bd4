"""What a step is given of its task."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from components.errors import ActverseError, NotFound
from components.labels import LabelSpec
from components.layout import Layout
from components.settings import Settings
from components.steps import Progress
from components.storage import Storage
from gateway.work import Work


class Waiting(ActverseError):
    """A step waits for something outside, and is to be run again after a while.

    Attributes:
        done, total: how far what it waits for is.
        again_in: when to look again.
        fault: what somebody has to mend first; empty where time alone is needed.
        facts: the step's own, which it is given again when it looks the next time.
    """

    def __init__(
        self,
        message: str,
        done: float,
        total: float,
        again_in: timedelta,
        fault: str = "",
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.done, self.total, self.again_in, self.fault = done, total, again_in, fault
        self.facts = facts or {}


class HandedOver(ActverseError):
    """Who looks at a step is being stopped, while what it looks at goes on elsewhere."""


@dataclass(frozen=True)
class OtherTask:
    """Another task of the same user that a step has to do with.

    Attributes:
        facts: what its steps said, by step.
        is_open: whether it has not come to its end yet.
    """

    task_id: str
    work: Work
    facts: dict[str, dict[str, Any]]
    is_open: bool = False

    @property
    def spec(self) -> LabelSpec:
        """What its model learnt."""
        return LabelSpec.model_validate(self.facts["labels"]["spec"])


@dataclass(frozen=True)
class StepContext:
    """What a step is given.

    Attributes:
        facts: what the earlier steps said, by step; of a further round also what was said of
            the video when it was fetched.
        earlier: the rounds before this one, the first one first.
        labeling: the task whose labels this one brings, if any.
        attempt: which one of the step's this is, from 1.
        progress: tells how far the step is, in the unit of its plan; raises as ``check`` does.
        check: raises when the step is to be left: another has it, or the worker stops.
    """

    settings: Settings
    storage: Storage
    task_id: str
    user_id: str
    work: Work
    facts: dict[str, dict[str, Any]]
    progress: Progress
    check: Callable[[], None]
    earlier: tuple[OtherTask, ...] = ()
    labeling: OtherTask | None = None
    attempt: int = 1

    @property
    def layout(self) -> Layout:
        """Where the task's files lie on this machine."""
        return self.storage.layout

    @property
    def video(self) -> Path:
        """The video as every later step reads it; all rounds have one."""
        first = self.earlier[0].task_id if self.earlier else self.task_id
        return self.layout.video(first) / "video.mp4"

    @property
    def itself(self) -> OtherTask:
        """The task as others see it."""
        return OtherTask(self.task_id, self.work, self.facts)

    @property
    def source(self) -> Path:
        """The video as it came."""
        return self.layout.video(self.task_id) / self.facts["download"]["file"]

    @property
    def spec(self) -> LabelSpec:
        """What the model is to learn, as the labels step settled it."""
        return LabelSpec.model_validate(self.facts["labels"]["spec"])

    def own(self, key: str) -> Path:
        """The place of a key below the user's own prefix, whether or not something is there.

        Raises:
            Refused: if the key leaves that prefix.
        """
        return self.layout.user_file(self.user_id, key)

    def bring_own(self, key: str) -> Path:
        """The user's own file or folder of a key, brought to this machine.

        Raises:
            NotFound: if it is not there.
            Refused: if the key leaves the user's prefix.
        """
        try:
            return self.storage.bring(self.own(key))
        except NotFound as error:
            raise NotFound(f"There is no file {key!r} among yours: upload it first.") from error

    def in_users_words(self, sentence: str) -> str:
        """A sentence with the user's own names in place of where their files lie here."""
        for place in (*self.layout.video(self.task_id).glob("source*"), self.video):
            sentence = sentence.replace(str(place), self.work.file_path)
        sentence = sentence.replace(f"{self.own('')}/", "")
        return sentence.replace(f"{self.layout.root}/", "")
