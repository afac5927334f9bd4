"""The labels of a further round: those of the rounds before, and its own."""

from pathlib import Path

from components.dataset.split import LEAST_FRAMES
from components.errors import NotFound
from components.label_files import find_images
from components.labeling.image_files import require_images
from components.labeling.label_set import LabelSet
from components.labeling.taken import read_taken
from gateway.flows import TRAINING
from gateway.steps.context import OtherTask, StepContext
from gateway.steps.projects import frames_of, images_of, owner_of


def labelled_before(context: StepContext) -> OtherTask | None:
    """The last round before that has taken labels; it has taken those of the rounds before it."""
    taken = (task for task in reversed(context.earlier) if "spec" in task.facts.get("labels", {}))
    return next(taken, None)


def with_earlier_rounds(
    context: StepContext, before: OtherTask, own: LabelSet
) -> tuple[LabelSet, dict[str, Path], tuple[str, ...]]:
    """All rounds' labels, their images by stem, and the stems that must stay held out.

    Where both label a frame, this round's label counts.
    """
    earlier, images = labels_of(context, before)
    here = images_of(context, owner_of(context))
    # What has no label any more in a project that was opened again, is labelled no more.
    frames = {stem: frame for stem, frame in earlier.frames.items() if stem not in here}
    merged = LabelSet(earlier.spec, frames | own.frames, own.skipped)
    held_out = tuple(stem for stem in held_out_of(context, before) if stem in merged.frames)
    images |= here
    require_images(merged.frames, images, "the earlier rounds")
    return merged, {stem: images[stem] for stem in merged.frames}, held_out


def labels_of(context: StepContext, task: OtherTask) -> tuple[LabelSet, dict[str, Path]]:
    """The labels that another task has taken, and their images."""
    folder = context.storage.bring(context.layout.labels(task.task_id))
    own = folder / "images"
    images = find_images(own if own.is_dir() else frames_of(context, task))
    return read_taken(folder, task.spec, images), images


def least_labels(context: StepContext) -> int:
    """How many frames of its own a round needs labelled at least, so that it can train."""
    owner = owner_of(context).task_id
    elsewhere = any(
        "spec" in task.facts.get("labels", {}) and (task.work.reopens or task.task_id) != owner
        for task in context.earlier
    )
    return 1 if elsewhere else LEAST_FRAMES


def splits_yet(context: StepContext, task: OtherTask) -> bool:
    """Whether it is still to be settled which frames a task holds out."""
    return task.is_open and TRAINING in task.facts and not held_out_of(context, task)


def held_out_of(context: StepContext, task: OtherTask) -> tuple[str, ...]:
    """The frames that a task's model was never shown, by stem; empty if it has none yet."""
    from components.dataset.held_out import held_out_stems, read_held_out

    named = read_held_out(context.storage.bring(context.layout.labels(task.task_id)))
    if named or TRAINING not in task.facts:
        return named
    try:
        return held_out_stems(context.storage.bring(context.layout.dataset(task.task_id)))
    except NotFound:
        return ()  # its training did not come so far
