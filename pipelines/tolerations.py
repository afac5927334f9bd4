"""Tolerations of nodes' taints as one line of text each."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from components.errors import BadInput
from pipelines.names import LABEL_KEY, LABEL_NAME

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

_TOLERATION = re.compile(
    rf"(?P<key>{LABEL_KEY})(?:(?P<equals>=)(?P<value>(?:{LABEL_NAME})?))?"
    r":(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)"
)


@dataclass(frozen=True)
class Toleration:
    """A taint that a pod puts up with: of this value, or of any where ``operator`` is Exists."""

    key: str
    operator: Literal["Equal", "Exists"]
    value: str
    effect: Effect


def parse_toleration(text: str) -> Toleration:
    """Read ``KEY=VALUE:EFFECT`` or ``KEY:EFFECT``, as ``kubectl taint`` writes taints.

    Raises:
        BadInput: if it is neither.
    """
    match = _TOLERATION.fullmatch(text)
    if not match:
        raise BadInput(
            f"The toleration {text!r} in ACTVERSE_GPU_TOLERATIONS cannot be read: give "
            "KEY=VALUE:EFFECT or KEY:EFFECT, the effect one of NoSchedule, PreferNoSchedule and "
            "NoExecute."
        )
    return Toleration(
        key=match["key"],
        operator="Equal" if match["equals"] else "Exists",
        value=match["value"] or "",
        effect=cast(Effect, match["effect"]),
    )
