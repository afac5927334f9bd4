"""The best frames by a score that is told of each as it streams by."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from components.errors import BadInput
from components.frame_results import FrameResult
from components.steps import Progress
from components.video.reader import read_small_frames
from components.video.selection.candidates import MAX_CANDIDATES, BestOfBins
from components.video.selection.embedding import SMALL_WH
from components.video.selection.motion import change
from components.video.selection.request import Request
from components.video.selection.uncertainty import uncertainty


@dataclass(frozen=True)
class Scores:
    """Scored candidates of a video.

    Attributes:
        indices: (n,) rising, open ones only.
        times: (n,) seconds.
        scores: (n,).
        taken_times: (m,) of the frames that are taken.
    """

    indices: np.ndarray
    times: np.ndarray
    scores: np.ndarray
    taken_times: np.ndarray


def motion_scores(request: Request, progress: Progress) -> Scores:
    """Score each open frame by its change from the one before; the first by none.

    Raises:
        BadVideo: if the video cannot be read.
    """
    count = request.facts.frame_count
    bests, is_open = BestOfBins(count), _mask(request)
    taken = frozenset(request.taken.tolist())
    taken_times: list[float] = []
    before: np.ndarray | None = None
    for frame in read_small_frames(request.video, SMALL_WH, grey=True):
        if frame.index >= count:
            break
        if frame.index in taken:
            taken_times.append(frame.timestamp)
        if is_open[frame.index]:
            score = 0.0 if before is None else change(before, frame.pixels)
            bests.offer(frame.index, frame.timestamp, score)
        before = frame.pixels
        progress(frame.index + 1, count)
    return Scores(*bests.kept(), np.array(taken_times))


def uncertainty_scores(
    request: Request,
    detections: Iterable[FrameResult],
    other: Iterable[FrameResult],
    progress: Progress,
    bins: int = MAX_CANDIDATES,
) -> Scores:
    """Score each open frame in ``detections`` by the model's uncertainty.

    Args:
        bins: candidates to keep at most.

    Raises:
        BadInput: if there are no detections, or they are of another video or out of order.
    """
    results = iter(detections)
    first = next(results, None)
    if first is None:
        raise BadInput(
            f"The strategy {request.options.strategy} needs a model's detections: analyse "
            f"{request.video} first, or choose diverse."
        )
    facts, options = request.facts, request.options
    bests, is_open = BestOfBins(facts.frame_count, bins), _mask(request)
    frames, times = array("q"), array("d")
    for index, time, score in uncertainty(
        chain([first], results), options.threshold, (facts.width, facts.height), other
    ):
        if index >= facts.frame_count:
            raise BadInput(
                f"The detections name frame {index}, but {request.video} has "
                f"{facts.frame_count} frames: give those of this video."
            )
        frames.append(index)
        times.append(time)
        if is_open[index]:
            bests.offer(index, time, score)
        progress(index + 1, facts.frame_count)
    taken_times = _times_between(request.taken, np.array(frames), np.array(times), facts.fps)
    return Scores(*bests.kept(), taken_times)


def _mask(request: Request) -> np.ndarray:
    """(frame count,) bool: what may be chosen; taken frames may not be, twice."""
    mask = np.zeros(request.facts.frame_count, bool)
    mask[request.open] = True
    mask[request.taken] = False
    return mask


def _times_between(
    wanted: np.ndarray, indices: np.ndarray, times: np.ndarray, fps: float
) -> np.ndarray:
    """The times of frames between or around frames whose times are known."""
    between = np.interp(wanted, indices, times)
    outside = np.minimum(wanted - indices[0], 0) + np.maximum(wanted - indices[-1], 0)
    return between + outside / fps
