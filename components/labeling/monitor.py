"""When labels count as complete, and when to look at them again.

They are complete when every image is labelled or skipped and nothing has changed for a
stated time: people go back to the image before. Where nothing changes, the looks become
rarer, up to a stated period.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.labeling.backend import LabelingState

_SLOWER = 1.5


@dataclass(frozen=True)
class Look:
    """What a look at a project came to.

    Attributes:
        settled: the labels are complete and have been left alone for long enough.
        changed: something was labelled since the last look.
        again_in: seconds until the next look.
        memory: what the next look is to be given; JSON can hold it.
    """

    settled: bool
    changed: bool
    again_in: float
    memory: dict[str, Any]


def look(
    state: LabelingState,
    memory: Mapping[str, Any],
    moment: float,
    *,
    poll: float,
    poll_max: float,
    settle: float,
) -> Look:
    """Judge a project's state by what the last look remembered.

    Args:
        memory: of the last look; empty at the first.
        moment: seconds of a clock that goes on between processes.
        poll: seconds between two looks while labels are made.
        poll_max: while nothing changes.
        settle: for how long complete labels must be unchanged.
    """
    changed = memory.get("mark") != state.mark
    since = moment if changed else min(float(memory.get("since", moment)), moment)
    settled = state.complete and moment - since >= settle
    wait = poll if changed else min(float(memory.get("wait", poll)) * _SLOWER, poll_max)
    again_in = wait
    if state.complete and not settled:
        again_in = min(wait, since + settle - moment)
    return Look(
        settled=settled,
        changed=changed,
        again_in=again_in,
        memory={"mark": state.mark, "since": since, "wait": max(wait, poll)},
    )
