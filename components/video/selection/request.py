"""What is asked of a selection, checked, in terms of one video."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import BadInput
from components.video.probe import VideoFacts
from components.video.selection.options import SelectionOptions

# Each chosen frame is compared with all candidates; only uniform can do without.
_MAX_NUMBER = 2000


@dataclass(frozen=True)
class Request:
    """A checked selection to be made.

    Attributes:
        open: (n,) rising indices that are not closed; those that are taken are among them.
        taken: (m,) rising indices of the frames that were chosen before.
        seconds: least time between two chosen frames.
    """

    video: Path
    facts: VideoFacts
    options: SelectionOptions
    open: np.ndarray
    taken: np.ndarray
    seconds: float

    def nothing_open(self) -> BadInput:
        """The fault of a request that leaves nothing to choose."""
        return BadInput(
            f"No frame of {self.video} may be chosen: of its {self.facts.frame_count} frames "
            f"{self.facts.frame_count - len(self.open)} are closed and the others lie within "
            f"{self.seconds:g} s of one that is taken; ask for a smaller distance."
        )


def check_request(
    video: Path,
    facts: VideoFacts,
    options: SelectionOptions,
    taken: Collection[int],
    closed: Sequence[tuple[int, int]],
) -> Request:
    """Check what is asked for.

    Raises:
        BadInput: if the number, the distance, the threshold, a taken frame or a closed span
            makes no sense, or nothing is open.
    """
    if options.number < 1:
        raise BadInput(f"{options.number} frames cannot be chosen: ask for 1 or more.")
    seconds = options.min_seconds_apart
    if seconds is None:
        seconds = facts.duration / options.number / 4
    if not 0 <= seconds < np.inf:
        raise BadInput(f"Frames cannot lie {seconds} s apart: give 0 seconds or more.")
    if not 0 < options.threshold < 1:
        raise BadInput(f"The threshold {options.threshold} is no score: give one between 0 and 1.")
    count = facts.frame_count
    for index in taken:
        if not 0 <= index < count:
            raise BadInput(f"The taken frame {index} does not exist: {video} has {count} frames.")
    is_open = np.ones(count, bool)
    for first, last in closed:
        if not 0 <= first <= last:
            raise BadInput(
                f"The frames {first} to {last} cannot be closed: give a first and a last index."
            )
        is_open[first : last + 1] = False
    request = Request(
        video=video,
        facts=facts,
        options=options,
        open=np.flatnonzero(is_open),
        taken=np.unique(np.fromiter(taken, int, len(taken))),
        seconds=seconds,
    )
    if not len(request.open):
        raise request.nothing_open()
    if options.strategy != "uniform" and min(options.number, len(request.open)) > _MAX_NUMBER:
        raise BadInput(
            f"{options.number} frames are too many to choose by {options.strategy}: ask for "
            f"{_MAX_NUMBER} or fewer, or choose uniform."
        )
    return request
