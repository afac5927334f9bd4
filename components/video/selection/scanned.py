"""Which frames to show a model, where it is not to see the whole video."""

from components.video.extract import uniform_indices
from components.video.selection.uncertainty import NEIGHBOUR_SECONDS

PAIR_SECONDS = 0.1
"""Between the frames of a pair, or one frame where that is more: what moves has hardly moved,
so that a box which jumps or vanishes is the model's doing."""


def scanned_indices(frame_count: int, fps: float, number: int) -> list[int]:
    """At most ``number`` indices over the whole video, rising, that have neighbours among them.

    Evenly spread ones, where these lie near enough to be told from one another's boxes. Where
    they do not, half as many places and a pair of frames at each. Where even frames that follow
    one another lie too far apart no pair would help, and they are evenly spread again.
    """
    apart = max(1, round(PAIR_SECONDS * fps))
    spread_seconds = frame_count / number / fps
    if spread_seconds <= NEIGHBOUR_SECONDS or apart / fps > NEIGHBOUR_SECONDS:
        return uniform_indices(frame_count, number)
    places = uniform_indices(frame_count, number // 2)
    return [index for place in places for index in (place, place + apart)]
