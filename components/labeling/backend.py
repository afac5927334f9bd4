"""Where people label: a folder or a tool, behind one small interface."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from components.labeling.label_set import LabelSet
from components.labeling.wanted import WantedLabels
from components.steps import Progress, no_progress


@dataclass(frozen=True)
class ProjectPlan:
    """A labelling project that is to be there.

    Attributes:
        title: ``[project name]-[task id]``; a second project of this title is never made.
        task_id: of the task whose frames they are.
        frames: the folder of images, on this machine and in the storage.
        preannotations: the folder that ``components/analysis/preannotate.py`` wrote; it need
            not be there.
        wanted: what is to be labelled.
        model: what made the pre-annotations, as in ``global 3``; empty if nothing did.
    """

    title: str
    task_id: str
    frames: Path
    preannotations: Path
    wanted: WantedLabels
    model: str = ""


@dataclass(frozen=True)
class LabelingState:
    """How far a project is.

    Attributes:
        total: its images.
        labelled: those with a label, confirmed negatives included.
        skipped: those that people chose not to label.
        mark: differs from an earlier one if any label was made, changed or taken back.
    """

    total: int
    labelled: int
    skipped: int
    mark: str

    @property
    def complete(self) -> bool:
        """Whether every image is labelled or skipped, and one at least is labelled."""
        return self.labelled > 0 and self.labelled + self.skipped >= self.total


class LabelingBackend(ABC):
    """One place where people label. A project is known by the facts that ``open`` gave.

    Every method raises ``Unavailable`` where the tool is away for now, ``Unauthorized``
    where it refuses the token, and ``NotFound`` where the project is gone.
    """

    name: ClassVar[str]

    @abstractmethod
    def open(self, plan: ProjectPlan, progress: Progress = no_progress) -> dict[str, Any]:
        """Make the project with its images and pre-annotations, or complete what is missing.

        Returns:
            Facts that JSON can hold: ``tool`` (this backend's name), ``project`` (a key of
            the user's or the tool's id), ``url`` (for people; may be empty), ``frames``
            (their number), and what else the backend needs to find it again.
        """

    @abstractmethod
    def state(self, project: Mapping[str, Any]) -> LabelingState:
        """How far the project is; cheap enough to be asked every few seconds."""

    @abstractmethod
    def read(
        self, project: Mapping[str, Any], wanted: WantedLabels, images: Mapping[str, Path]
    ) -> LabelSet:
        """The labels as they are now.

        Args:
            images: by stem, those that may be labelled.

        Raises:
            BadLabels: if nobody names the classes. What is wrong in one image stands in the
                set's ``faults``.
        """

    @abstractmethod
    def add(self, project: Mapping[str, Any], labels: LabelSet) -> int:
        """Put labels into the project as if a person had just made them; return how many images.

        What was labelled in these images before is replaced.

        Raises:
            BadLabels: for an image that the project does not have.
        """
