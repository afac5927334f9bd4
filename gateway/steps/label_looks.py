"""The labelling monitor's look at one project: how far it is, and its labels once they count."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

from components.errors import (
    ActverseError,
    BadInput,
    BadLabels,
    NotFound,
    StorageFull,
    Unauthorized,
    Unavailable,
)
from components.labeling.backend import LabelingState
from components.labeling.draft import load_draft, save_draft
from components.labeling.label_set import LabelSet
from components.labeling.monitor import look
from gateway.steps.context import StepContext, Waiting
from gateway.steps.label_rounds import least_labels
from gateway.steps.projects import backend_of, images_of, owner_of

_DRAFT_SECONDS = 60
_NAMED_FAULTS = 3


def labels_that_count(context: StepContext) -> tuple[LabelSet, dict[str, Any]]:
    """The labels, if they are complete and left alone, or if those that are there suffice.

    While people label, they are read once a minute and kept, so that little is lost with a
    tool that loses a project; what is wrong with one of them is told then.

    Returns:
        The labels, and the facts of the look; of what is no reason to wait by itself, ``amiss``.

    Raises:
        Waiting: if they do not count yet; with a fault where somebody has to mend something
            first, since neither a typo nor a tool that is away may cost a video's labels.
    """
    owner, facts = owner_of(context), dict(context.facts.get("labels", {}))
    project = context.facts["labeling"]
    done, total = float(facts.get("done", 0)), float(facts.get("total", 0))
    again_in = context.settings.labeling_poll_max_seconds
    try:
        backend = backend_of(context, str(project["tool"]))
        state = backend.state(project)
        seen = look(
            state,
            facts.get("monitor", {}),
            time.time(),
            poll=context.settings.labeling_poll_seconds,
            poll_max=again_in,
            settle=context.settings.labeling_settle_seconds,
        )
        done, total = state.labelled + state.skipped, state.total
        again_in = seen.again_in
        facts |= {"monitor": seen.memory, "done": done, "total": total, "skipped": state.skipped}
        gone = _frames_gone(context, state)
        ready = seen.settled and state.mark != project.get("opened_with") and not gone
        ready = ready or context.work.labels_now
        kept = facts.get("draft", {})
        unkept = kept.get("mark") != state.mark
        if state.labelled and (
            ready or (unkept and time.time() - kept.get("at", 0) > _DRAFT_SECONDS)
        ):
            # Whatever is wrong, it is not read again at every look.
            kept = facts["draft"] = {**kept, "at": time.time(), "fault": ""}
            try:
                labels = backend.read(project, context.work.wanted, images_of(context, owner))
                if unkept:
                    _keep(context, labels, gone=bool(gone))
                    kept["mark"] = state.mark
                refuse_faults(labels)
            except BadLabels as error:
                kept["fault"] = str(error)
            else:
                if ready:
                    return labels, facts | {"amiss": gone}
        fault = kept.get("fault", "") if state.labelled else _nothing(context, state, ready)
        if gone and not (context.work.labels_now and state.labelled):
            fault = gone
    except (BadInput, NotFound, StorageFull, Unauthorized, Unavailable) as error:
        context.check()
        fault = _with_way_out(context, error)
        away = isinstance(error, NotFound | Unavailable)
        if away and context.work.labels_now and (draft := read_draft(context)):
            return draft, facts | {"read_before": str(error), "amiss": fault}
    raise Waiting(
        fault or f"{done:g} of {total:g} frames are labelled.",
        done,
        total,
        timedelta(seconds=again_in),
        fault=fault,
        facts=facts,
    )


def read_draft(context: StepContext) -> LabelSet | None:
    """The labels as they were last read from the tool; None if they never were."""
    path = context.layout.labels_draft(owner_of(context).task_id)
    try:
        return load_draft(context.storage.bring(path))
    except NotFound:
        return None


def refuse_faults(labels: LabelSet) -> None:
    """Raise BadLabels, naming the first few, if the labels of an image cannot be used."""
    if labels.faults:
        first = [labels.faults[stem] for stem in sorted(labels.faults)]
        more = len(first) - _NAMED_FAULTS
        said = " ".join(first[:_NAMED_FAULTS]) + (f" And {more} more." if more > 0 else "")
        raise BadLabels(said)


def _keep(context: StepContext, labels: LabelSet, *, gone: bool) -> None:
    """Keep the labels as they are; for those that cannot be used, as they were read before.

    Args:
        gone: whether frames are gone from the project: what was read of them is kept on.
    """
    frames, skipped = labels.frames, labels.skipped
    older = read_draft(context) if labels.faults or gone else None
    if older and older.spec != labels.spec and gone:
        return
    if older and older.spec == labels.spec:
        lost = older.frames.keys() - labels.skipped if gone else labels.faults
        frames = {s: frame for s, frame in older.frames.items() if s in lost} | frames
        skipped |= older.skipped - frames.keys() if gone else frozenset()
    if frames:
        path = context.layout.labels_draft(owner_of(context).task_id)
        save_draft(replace(labels, frames=frames, skipped=skipped), path)
        context.storage.keep(path)


def _frames_gone(context: StepContext, state: LabelingState) -> str:
    """What can be done where frames were deleted from the project; empty if none was."""
    task_id, frames = context.task_id, int(context.facts["labeling"].get("frames", 0))
    if state.total >= frames:
        return ""
    others = state.total and not context.work.labels_now
    return (
        f"{frames - state.total} of {frames} frames are gone from the project: "
        f"'actverse labels restore {task_id}' puts them up again"
        + (f", 'actverse train {task_id} --now' goes on without them." if others else ".")
    )


def _nothing(context: StepContext, state: LabelingState, ready: bool) -> str:
    """What is to be done where nothing is labelled; empty while there is time."""
    number = least_labels(context)
    least = f"label {number} frames at least" if number > 1 else "label one frame at least"
    if state.skipped >= state.total > 0:
        return f"Every frame was skipped: {least}, or cancel the task."
    return f"Nothing is labelled yet: {least}." if ready else ""


def _with_way_out(context: StepContext, error: ActverseError) -> str:
    """An error's sentence; of a project that is gone with what can be done about it."""
    if not isinstance(error, NotFound):
        return str(error)
    draft = read_draft(context)
    kept = f" The labels of {len(draft.frames)} frames are kept." if draft else ""
    return (
        f"{error}{kept} 'actverse labels restore {context.task_id}' puts it up again"
        f"{' with them' if draft else ''}."
    )
