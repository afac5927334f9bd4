"""Choosing the frames of a video that are worth labelling."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from components.frame_results import FrameResult
from components.steps import Progress, no_progress
from components.video.probe import VideoFacts
from components.video.selection.active import active_order
from components.video.selection.best import best_first
from components.video.selection.candidates import MAX_CANDIDATES, evenly
from components.video.selection.farthest import farthest_with_distances
from components.video.selection.looks import Looks, read_looks
from components.video.selection.options import SelectionOptions
from components.video.selection.request import Request, check_request
from components.video.selection.scores import Scores, motion_scores, uncertainty_scores
from components.video.selection.selection import SelectedFrame, Selection
from components.video.selection.spacing import Spacing
from components.video.selection.uniform import spread


def select_frames(
    video: Path,
    facts: VideoFacts,
    options: SelectionOptions,
    *,
    detections: Iterable[FrameResult] = (),
    other: Iterable[FrameResult] = (),
    taken: Collection[int] = (),
    closed: Sequence[tuple[int, int]] = (),
    progress: Progress = no_progress,
) -> Selection:
    """Choose frames by a strategy, in memory that hardly grows with the video.

    The same input gives the same frames. There are at most 4000 candidates: evenly spread
    ones for their looks, the best one of each equal part of the video for a score.

    Args:
        video: any readable video.
        facts: of that video.
        options: the strategy, the budget and the distance in time.
        detections: what a model found, in frame order, for uncertain and active; frames may
            be left out. Read once, one frame at a time.
        other: a second model's, in frame order; where the two disagree is uncertain.
        taken: frames that are labelled already: new ones keep the distance in time from
            them, and diverse ones look unlike them.
        closed: first and last index of spans from which nothing is chosen.
        progress: told of read frames.

    Raises:
        BadInput: if an option, a taken frame or a closed span makes no sense, if uncertain
            or active has no detections or those of another video, or if nothing is open.
        BadVideo: if the video cannot be read.
    """
    request = check_request(Path(video), facts, options, taken, closed)
    frames = _choose(request, detections, other, progress)
    if not frames:
        raise request.nothing_open()
    note = ""
    if len(frames) < options.number:
        kind = "open and analysed" if options.strategy == "uncertain" else "open"
        note = (
            f"{len(frames)} of the {options.number} frames asked for: no other is {kind} that "
            f"lies {request.seconds:g} s from these"
        )
    return Selection(
        options=options,
        fps=facts.fps,
        frame_count=facts.frame_count,
        frames=tuple(sorted(frames, key=lambda frame: frame.index)),
        note=note,
    )


def _choose(
    request: Request,
    detections: Iterable[FrameResult],
    other: Iterable[FrameResult],
    progress: Progress,
) -> list[SelectedFrame]:
    match request.options.strategy:
        case "uniform":
            return _uniform(request)
        case "diverse":
            return _diverse(request, progress)
        case "motion":
            return _best(request, motion_scores(request, progress))
        case "uncertain":
            return _best(request, uncertainty_scores(request, detections, other, progress))
        case "active":
            return _active(request, detections, other, progress)


def _uniform(request: Request) -> list[SelectedFrame]:
    spacing = Spacing(
        request.open / request.facts.fps, request.seconds, request.taken / request.facts.fps
    )
    spacing.open &= ~np.isin(request.open, request.taken)
    indices = request.open[spacing.open]
    times = indices / request.facts.fps
    rows = spread(times, request.options.number, request.seconds) if len(indices) else []
    return [_selected(indices[row], times[row], "uniform", 0.0) for row in rows]


def _best(request: Request, scores: Scores) -> list[SelectedFrame]:
    options = request.options
    spacing = Spacing(scores.times, request.seconds, scores.taken_times)
    rows = best_first(scores.scores, options.number, options.seed, spacing)
    return [
        _selected(scores.indices[row], scores.times[row], options.strategy, scores.scores[row])
        for row in rows
    ]


def _diverse(request: Request, progress: Progress) -> list[SelectedFrame]:
    candidates = evenly(request.open, request.facts.fps, request.options.number)
    looks, start, spacing = _looked_at(request, candidates, progress)
    picks = farthest_with_distances(
        looks.embeddings, request.options.number, request.options.seed, start, spacing
    )
    return [
        _selected(looks.indices[row], looks.times[row], "diverse", distance)
        for row, distance in picks
    ]


def _active(
    request: Request,
    detections: Iterable[FrameResult],
    other: Iterable[FrameResult],
    progress: Progress,
) -> list[SelectedFrame]:
    # Half of the candidates for each side: all of them are looked at.
    half = MAX_CANDIDATES // 2
    scored = uncertainty_scores(request, detections, other, progress, half)
    spread_out = evenly(request.open, request.facts.fps, request.options.number, half)
    candidates = np.union1d(spread_out, scored.indices)
    looks, start, spacing = _looked_at(request, candidates, progress)
    scores = np.full(len(looks.indices), np.nan)
    scores[looks.rows(scored.indices)] = scored.scores
    options = request.options
    picks = active_order(looks.embeddings, scores, options.number, options.seed, start, spacing)
    return [
        _selected(looks.indices[pick.row], looks.times[pick.row], pick.strategy, pick.score)
        for pick in picks
    ]


def _looked_at(
    request: Request, candidates: np.ndarray, progress: Progress
) -> tuple[Looks, list[int], Spacing]:
    """The looks of candidates and taken frames, the taken ones' rows, and the spacing."""
    looks = read_looks(request.video, np.union1d(candidates, request.taken), progress)
    return looks, looks.rows(request.taken), Spacing(looks.times, request.seconds)


def _selected(index: int, timestamp: float, strategy: str, score: float) -> SelectedFrame:
    return SelectedFrame(
        index=int(index), timestamp=float(timestamp), strategy=strategy, score=float(score)
    )
