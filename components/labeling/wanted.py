"""What a task wants labelled, as far as it says, and what its labels say where it does not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.errors import BadLabels
from components.labels import LabelSpec, plain_name


@dataclass(frozen=True)
class WantedLabels:
    """The classes and key points that a task asks for; what is empty, the labels may name."""

    task: Literal["detect", "pose"] = "detect"
    names: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    flip_idx: tuple[int, ...] = ()

    def resolve(
        self,
        source: str,
        names: tuple[str, ...] = (),
        keypoints: tuple[str, ...] = (),
        flip_idx: tuple[int, ...] = (),
    ) -> LabelSpec:
        """What the model is to learn: as asked for, the gaps filled from the labels' own words.

        Args:
            source: where the labels come from, for the errors.
            names, keypoints, flip_idx: as they name them; key points count for pose only.

        Raises:
            BadLabels: if nobody names the classes or, for pose, the key points, or if what
                was named does not fit together, or differs in its case or Unicode form only.
        """
        names = self.names or names
        if not names:
            raise BadLabels(
                f"Nobody names the classes of {source}: give --names, or put a classes.txt "
                "or data.yaml into it."
            )
        keypoints = self.keypoints or keypoints if self.task == "pose" else ()
        flip_idx = self.flip_idx or flip_idx if self.task == "pose" else ()
        if self.task == "pose" and not keypoints:
            raise BadLabels(
                f"Nobody names the key points of {source}: give --keypoints, or put a "
                "data.yaml with kpt_shape into it."
            )
        # Here, not in LabelSpec: a model that has such names already can still be used.
        _require_distinct(names, "class names")
        _require_distinct(keypoints, "key points")
        try:
            return LabelSpec(task=self.task, names=names, keypoints=keypoints, flip_idx=flip_idx)
        except ValueError as error:
            reason = re.sub(r"^Value error, ", "", error.errors()[0]["msg"])  # type: ignore[attr-defined]
            raise BadLabels(reason) from error

    def check(self) -> None:
        """Refuse what no labels can make up for.

        Raises:
            BadLabels: if what is named does not fit together, as in ``resolve``.
        """
        # What is not named yet fits: a class, and as many key points as are mirrored.
        points = tuple(f"point_{index}" for index in range(max(1, len(self.flip_idx))))
        self.resolve("the task", ("animal",), points)


def _require_distinct(names: Sequence[str], what: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (plain := plain_name(name)) in seen:
            raise BadLabels(
                f"The {what} {seen[plain]!r} and {name!r} repeat one name: give each one once, "
                "written alike everywhere."
            )
        seen[plain] = name
