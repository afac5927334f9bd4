"""Which frames of a task's video are to be labelled."""

from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

from components.errors import BadLabels, NotFound
from components.frame_results import FrameResult, chunk_paths, read_chunk
from components.labeling.draft import KEPT, load_draft
from components.video.extract import frame_index, frame_name, uniform_indices
from components.video.probe import VideoFacts
from components.video.selection.options import SelectionOptions, Strategy
from components.video.selection.selection import Selection
from gateway.steps.context import OtherTask, StepContext
from gateway.steps.optional_model import (
    NoModel,
    lost_model_of,
    optional_model,
    wait_for_lost,
)

_BY_MODEL = ("uncertain", "active")
# Enough to see where a model is unsure, without analysing a whole video for it.
_SCANNED = 600
# A finding this unsure is of interest though it would not be drawn.
_DOUBTFUL = 0.4
# Of the video, before and after what is held out: as far as a dataset's gap reaches.
_MARGIN = 0.05


def labelled_frames(context: StepContext) -> list[int]:
    """The frames that given labels are named after; empty if none were, or images came along.

    Raises:
        BadLabels: for a label of something that is no frame of the video.
    """
    from components.labeling.opened import opened_labels

    work = context.work
    if not work.labels_path:
        return []
    total = _facts(context).frame_count
    with opened_labels(context.bring_own(work.labels_path), work.labels_format) as labels:
        names = labels.frames_needed()
    indices = []
    for name in names:
        index = frame_index(name)
        if index is None or index >= total:
            raise BadLabels(
                f"The label {name} belongs to no image, and to no frame of the video "
                f"({total} frames): name it after its image, or {frame_name(0)} to "
                f"{frame_name(total - 1)}."
            )
        indices.append(index)
    return sorted(indices)


def choose_frames(context: StepContext, video: Path) -> Selection:
    """Choose frames by the strategy asked for; by default active where a model is served.

    A further round chooses by what the analysis of the round before found, and by where the
    global model disagrees; it keeps away from what is labelled already, and from the stretch of
    the video that is held out.

    The global model is asked only by a strategy that needs it. A first round that was asked for
    one waits for it, and fails with it; any other goes on without a model that is away or broken,
    and notes why.
    """
    strategy = context.work.strategy or "active"
    if strategy not in _BY_MODEL:
        return _select(context, video, strategy)
    if context.work.strategy and not context.earlier:
        return _select(context, video, strategy, _global_model(context, needed=True))
    alone: Strategy = strategy if context.earlier else "uniform"
    try:
        with optional_model(context):
            model = _global_model(context)
            return _select(context, video, strategy if model else alone, model)
    except NoModel as error:
        chosen = _select(context, video, alone)
        notes = filter(None, [chosen.note, f"chosen without the global model: {error}"])
        return chosen.model_copy(update={"note": "; ".join(notes)})


def _select(
    context: StepContext, video: Path, strategy: Strategy, model: tuple[str, int] | None = None
) -> Selection:
    """Choose by a strategy; ``model`` is the global one."""
    from components.video.selection.scanned import scanned_indices
    from components.video.selection.select import select_frames

    work, facts = context.work, _facts(context)
    taken, apart = _taken(context), work.min_seconds_apart
    if apart is None and taken:
        # Between those that are labelled already there is to be room for as many more.
        apart = facts.frame_count / facts.fps / (work.num_frames + len(taken)) / 4
    options = SelectionOptions(
        strategy=strategy,
        number=work.num_frames,
        min_seconds_apart=apart,
        seed=work.seed,
        threshold=work.confidence,
    )
    found: Generator[FrameResult, None, None] = _nothing()
    other: Generator[FrameResult, None, None] = _nothing()
    if strategy in _BY_MODEL and context.earlier:
        found = _analysed(context, context.earlier[-1])
        if model:
            spread_out = uniform_indices(facts.frame_count, _SCANNED)
            other = _scanned(context, video, facts, *model, spread_out, names=work.names)
    elif strategy in _BY_MODEL and model:
        indices = scanned_indices(facts.frame_count, facts.fps, _SCANNED)
        found = _scanned(context, video, facts, *model, indices)
    # Closed, since they hold a model, and need not be read to their end.
    with closing(found), closing(other):
        return select_frames(
            video,
            facts,
            options,
            detections=found,
            other=other,
            taken=taken,
            closed=_closed(context, facts),
            progress=context.progress,
        )


def _facts(context: StepContext) -> VideoFacts:
    return VideoFacts.model_validate(context.facts["convert"]["video"])


def _global_model(context: StepContext, *, needed: bool = False) -> tuple[str, int] | None:
    """The global model's name and version; None where none is to be served.

    Raises:
        Unavailable: if Triton has lost it; where it is not needed, in the first attempts only.
    """
    from gateway.steps.analysis import served_versions

    name = context.settings.global_model
    if not name or not context.settings.triton_url:
        return None
    version = served_versions(context).get(name)
    if version:
        return name, version
    if needed and (lost := lost_model_of(context, name)):
        raise lost
    wait_for_lost(context, name)
    return None


def _nothing() -> Generator[FrameResult, None, None]:
    yield from ()


def _scanned(
    context: StepContext,
    video: Path,
    facts: VideoFacts,
    name: str,
    version: int,
    indices: list[int],
    names: tuple[str, ...] = (),
) -> Generator[FrameResult, None, None]:
    """What a served model finds in the frames of ``indices``; nothing without all ``names``."""
    from components.analysis.scan import scan
    from gateway.steps.analysis import open_model

    work = context.work
    with open_model(context, name, version) as model:
        if not set(names) <= set(model.card.labels.names):
            return  # another model's other words are no disagreement
        yield from scan(
            video,
            facts,
            model,
            indices,
            confidence=_DOUBTFUL * work.confidence,
            iou=work.iou,
            progress=context.progress,
        )


def _analysed(context: StepContext, task: OtherTask) -> Generator[FrameResult, None, None]:
    results = context.storage.bring(context.layout.results(task.task_id))
    for path in chunk_paths(results):
        yield from read_chunk(path)


def _taken(context: StepContext) -> list[int]:
    """The frames that the rounds before have labelled, or skipped."""
    taken: set[int] = set()
    for task in context.earlier:
        prefix = context.storage.key_of(context.layout.labels(task.task_id))
        for file in context.storage.files(prefix):
            path = Path(file.key)
            if path.suffix == ".txt" and (index := frame_index(path.stem)) is not None:
                taken.add(index)
        with suppress(NotFound):
            kept = context.storage.bring(context.layout.labels(task.task_id) / KEPT)
            skipped = (frame_index(stem) for stem in load_draft(kept).skipped)
            taken |= {index for index in skipped if index is not None}
    return sorted(taken)


def _closed(context: StepContext, facts: VideoFacts) -> list[tuple[int, int]]:
    """The stretch of the video in which frames are held out, and its surroundings."""
    from gateway.steps.label_rounds import held_out_of

    if not context.earlier:
        return []
    named = [frame_index(stem) for stem in held_out_of(context, context.earlier[-1])]
    held_out = sorted(index for index in named if index is not None)
    if not held_out:
        return []
    margin = round(_MARGIN * facts.frame_count)
    return [(max(0, held_out[0] - margin), min(facts.frame_count - 1, held_out[-1] + margin))]
