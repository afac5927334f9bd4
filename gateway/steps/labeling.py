"""The steps around the labels: asked for, waited for, checked and taken."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from components.errors import (
    BadInput,
    BadLabels,
    Conflict,
    NotFound,
    StorageFull,
    Unauthorized,
    Unavailable,
)
from components.labeling.backend import LabelingBackend, ProjectPlan
from components.labeling.backends import default_tool
from components.labeling.draft import KEPT, save_draft
from components.labeling.label_set import LabelSet
from gateway.steps.context import OtherTask, StepContext, Waiting
from gateway.steps.label_looks import labels_that_count, read_draft, refuse_faults
from gateway.steps.projects import backend_of, frames_of, images_of, owner_of


def request_labels(context: StepContext) -> dict[str, Any]:
    """Put the frames and their pre-annotations where people label, where no labels were given.

    A project that was lost is put up anew with the labels that had been read from it.

    Raises:
        Waiting: while the tool is away, or refuses us or what it is given: people can mend it.
        BadLabels: if nobody names what is to be labelled.
    """
    work = context.work
    if work.labels_path:
        return {"tool": "none: labels were given", "skipped": True}
    owner = owner_of(context)
    frames = frames_of(context, owner)
    said = owner.facts.get("preannotate", {})
    preannotations = context.layout.preannotations(owner.task_id)
    if said.get("model"):
        context.storage.bring(preannotations)
    plan = ProjectPlan(
        title=f"{work.project_name}-{owner.task_id}",
        task_id=owner.task_id,
        frames=frames,
        preannotations=preannotations,
        wanted=work.wanted,
        model=f"{said['model']} {said['version']}" if said.get("model") else "",
    )
    try:
        backend = backend_of(context, work.labeling_tool or default_tool(context.settings))
        as_left = work.reopens and _is_whole(context, backend, owner)
        project = backend.open(plan, context.progress)
        if not as_left:
            _put_back(context, backend, project)
        if work.reopens:
            # It is complete already: what counts is that somebody changes it after this.
            project["opened_with"] = backend.state(project).mark
    except BadLabels:
        raise
    except (BadInput, NotFound, Unauthorized, Unavailable) as error:
        context.check()
        again_in = timedelta(seconds=context.settings.labeling_poll_max_seconds)
        raise Waiting(
            str(error), 0, 0, again_in, fault=str(error), facts={"put_up_in_part": True}
        ) from error
    return {**project, "preannotated_by": plan.model, "note": said.get("reason", "")}


def take_labels(context: StepContext) -> dict[str, Any]:
    """Check the labels and bring them to the task, once they are complete and left alone.

    Of a further round the labels of the rounds before are taken along, and their held-out
    frames stay held out.

    Raises:
        Waiting: as long as they do not count, or cannot be used: people can mend them.
        BadLabels: for labels that were given and cannot be used.
    """
    if context.work.labels_path:
        return _take_given(context)
    labels, look = labels_that_count(context)
    _wait_for_split(context, look)
    try:
        return _take(context, labels, look)
    except (BadInput, NotFound, StorageFull, Unavailable) as error:
        # The labels of weeks are not to be stranded by what somebody can mend.
        context.check()
        raise _waiting(context, str(error), look) from error


def _wait_for_split(context: StepContext, look: dict[str, Any]) -> None:
    """Wait for the round before to settle its held-out frames: this one is to hold them out too."""
    from gateway.steps.label_rounds import labelled_before, splits_yet

    before = labelled_before(context)
    if before and splits_yet(context, before):
        fault = (
            f"Round {before.work.round} of it, the task {before.task_id}, has no dataset yet, and "
            "what it holds out is to stay held out: wait for its training, or cancel it."
        )
        raise _waiting(context, fault, look)


def _waiting(context: StepContext, fault: str, look: dict[str, Any]) -> Waiting:
    """Labels that would count, were it not for ``fault``."""
    fault = f"{look.get('amiss', '')} {fault}".strip()
    facts = {name: said for name, said in look.items() if name not in ("read_before", "amiss")}
    again_in = timedelta(seconds=context.settings.labeling_poll_max_seconds)
    done, total = float(look.get("done", 0)), float(look.get("total", 0))
    return Waiting(fault, done, total, again_in, fault=fault, facts=facts)


def _take(context: StepContext, labels: LabelSet, look: dict[str, Any]) -> dict[str, Any]:
    from components.dataset.held_out import write_held_out
    from components.dataset.split import LEAST_FRAMES
    from components.labeling.keep import keep_labels
    from gateway.steps.label_rounds import labelled_before, with_earlier_rounds

    told: dict[str, Any] = {
        name: look[name] for name in ("total", "skipped", "read_before") if name in look
    }
    told["of_this_round"] = len(labels.frames)
    images: dict[str, Path] | None = None
    held_out: tuple[str, ...] = ()
    if before := labelled_before(context):
        labels, images, held_out = with_earlier_rounds(context, before, labels)
    elif context.work.reopens or context.work.folder_path:
        images = images_of(context, owner_of(context))
    frames = max(look.get("total", 0), context.facts["labeling"].get("frames", 0))
    # Where there are no more frames, it is for the training to refuse them.
    if len(labels.frames) < LEAST_FRAMES and told["of_this_round"] < frames:
        raise BadLabels(
            f"There are {len(labels.frames)} labelled frames, but a training needs at least "
            f"{LEAST_FRAMES}: label more."
        )
    target = context.layout.labels(context.task_id)
    counts = keep_labels(labels, target, images, context.progress)
    write_held_out(target, held_out)
    save_draft(labels, target / KEPT)
    context.storage.keep(target)
    return {**told, "counts": counts, "spec": labels.spec.model_dump(mode="json")}


def import_labels(context: StepContext) -> dict[str, Any]:
    """Put labels that a user brings into another task's project, as if they were made there."""
    from components.labeling.formats import open_format
    from components.labeling.opened import opened_labels

    task = context.labeling
    if task is None:
        raise ValueError("a task of this kind names the task that the labels are for")
    if "spec" in task.facts.get("labels", {}):
        raise Conflict(
            f"The labels of the task {task.task_id} were taken meanwhile: open its labelling again "
            "first."
        )
    path = context.bring_own(context.work.labels_path)
    with opened_labels(path, context.work.labels_format) as opened:
        form = opened.format
        # By the task's own frames, whatever images came along.
        labels = open_format(form).read(opened.path, task.work.wanted, images_of(context, task))
    refuse_faults(labels)
    project = task.facts.get("labeling", {})
    if "tool" not in project:
        raise Unavailable(f"The project of {task.task_id} is being put up again: try again.")
    added = backend_of(context, str(project["tool"])).add(project, labels)
    return {"task_id": task.task_id, "format": form, "images": added, "objects": labels.objects}


def _take_given(context: StepContext) -> dict[str, Any]:
    from components.labeling.keep import keep_labels
    from components.labeling.opened import opened_labels

    work = context.work
    target = context.layout.labels(context.task_id)
    with opened_labels(context.bring_own(work.labels_path), work.labels_format) as opened:
        images = opened.images or images_of(context, context.itself)
        labels = opened.read(work.wanted, images)
        counts = keep_labels(labels, target, opened.images or None, context.progress)
    save_draft(labels, target / KEPT)
    context.storage.keep(target)
    return {"counts": counts, "spec": labels.spec.model_dump(mode="json")}


def _is_whole(context: StepContext, backend: LabelingBackend, owner: OtherTask) -> bool:
    """Whether a project is as people left it, be it that they took labels back there.

    One that an attempt before this has begun to put up need not be.
    """
    project = owner.facts.get("labeling", {})
    begun = context.attempt > 1 or context.facts.get("labeling", {}).get("put_up_in_part")
    if begun or project.get("tool") != backend.name:
        return False
    try:
        state = backend.state(project)
    except NotFound:
        return False
    return state.total >= project["frames"] and state.labelled + state.skipped > 0


def _put_back(context: StepContext, backend: LabelingBackend, project: Mapping[str, Any]) -> None:
    """Bring labels that were read from a project which is gone by now into the new one.

    What people have done there since is newer, be it a fault or a skipped frame.
    """
    draft = read_draft(context)
    if draft is None or not draft.frames:
        return
    there: set[str] = set()
    state = backend.state(project)
    if state.labelled or state.skipped:
        try:
            found = backend.read(
                project, context.work.wanted, images_of(context, owner_of(context))
            )
        except BadLabels:
            return  # they are there, with a fault that the next look names
        there = found.frames.keys() | found.skipped | found.faults.keys()
    lost = {stem: frame for stem, frame in draft.frames.items() if stem not in there}
    skipped = draft.skipped - there
    if lost or skipped:
        backend.add(project, LabelSet(draft.spec, lost, skipped))
