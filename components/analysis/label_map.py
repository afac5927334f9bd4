"""A model's classes and key points in the words of a task: by name, and by nothing else."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from components.detections import Detections
from components.labels import LabelSpec


@dataclass(frozen=True)
class LabelMap:
    """How findings of a model become findings of a task.

    Attributes:
        names: the task's classes; the model's where the task names none.
        classes: for each class of the model the task's, or None: it is left out.
        keypoints: for each key point of the task the model's, or None: the model has none.
        mapped: the task's class for each of the model's that is called otherwise.
    """

    names: tuple[str, ...]
    classes: tuple[int | None, ...]
    keypoints: tuple[int | None, ...]
    mapped: dict[str, str]

    @classmethod
    def of(
        cls,
        model: LabelSpec,
        task: Literal["detect", "pose"],
        names: Sequence[str] = (),
        keypoints: Sequence[str] = (),
    ) -> Self:
        """Map by exact name; a model's only class is also a task's only one.

        Where only one of the two is for pose there are no key points. A task that names no
        classes, or no key points, takes the model's.
        """
        names, keypoints = tuple(names) or model.names, tuple(keypoints) or model.keypoints
        mapped = {}
        classes: tuple[int | None, ...]
        if len(names) == len(model.names) == 1:
            # A laboratory's single animal goes by many names.
            classes = (0,)
            if names != model.names:
                mapped = {model.names[0]: names[0]}
        else:
            classes = tuple(_place(name, names) for name in model.names)
        points: tuple[int | None, ...] = ()
        if task == "pose" and model.task == "pose":
            points = tuple(_place(name, model.keypoints) for name in keypoints)
        return cls(names, classes, points, mapped)

    def left_out(self, found: Detections) -> Counter[int]:
        """How many findings of each class of the model the task does not know."""
        unknown = [i for i in found.class_ids.tolist() if self.classes[i] is None]
        return Counter(unknown)

    def apply(self, found: Detections) -> Detections:
        """The findings that the task knows, with its classes and its (n, K, 3) key points.

        A key point that the model does not have is 0, 0 with score 0.
        """
        known = found.where(
            np.asarray([self.classes[i] is not None for i in found.class_ids.tolist()], bool)
        )
        class_ids = [self.classes[i] for i in known.class_ids.tolist()]
        points = np.zeros((len(known), len(self.keypoints), 3), np.float32)
        for place, of_model in enumerate(self.keypoints):
            if of_model is not None:
                points[:, place] = known.keypoints[:, of_model]
        return Detections(known.xyxy, known.scores, np.asarray(class_ids, np.int64), points)


def _place(name: str, names: tuple[str, ...]) -> int | None:
    return names.index(name) if name in names else None
