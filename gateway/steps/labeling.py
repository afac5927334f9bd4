"""The steps around the labels: asked for, waited for, checked and taken."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from components.errors import BadLabels
from gateway.steps.context import StepContext, Waiting


def request_labels(context: StepContext) -> dict[str, Any]:
    """Lay the frames and their pre-annotations out for labelling, where no labels were given."""
    from components.labeling.project import PARTS, make_project

    if context.work.labels_path:
        return {"tool": "none: labels were given", "skipped": True}
    project = project_key(context)
    if context.work.folder_path:
        frames = context.bring_own(context.work.folder_path)
    else:
        frames = context.storage.bring(context.layout.frames(context.task_id))
    preannotations = context.layout.preannotations(context.task_id)
    if context.facts.get("preannotate", {}).get("model"):
        context.storage.bring(preannotations)
    work, folder = context.work, context.own(project)
    frames_given = make_project(
        frames,
        preannotations,
        folder,
        progress=context.progress,
        task=work.task,
        names=work.names,
        keypoints=work.keypoints,
    )
    for part in PARTS:
        # Not the whole folder: labels that are in the storage only would be deleted there.
        if (folder / part).exists():
            context.storage.keep(folder / part)
    return {"tool": "folder", "project": project, "frames": frames_given}


def project_key(context: StepContext) -> str:
    """The key of the folder in which a task's frames are labelled."""
    return f"labeling/{context.work.project_name}-{context.task_id}"


def take_labels(context: StepContext) -> dict[str, Any]:
    """Check the labels and bring them to the task, once there is one for every frame.

    Raises:
        Waiting: as long as some are missing, or what people have written cannot be used yet.
        BadLabels: for labels that were given and cannot be used.
    """
    from components.labeling.project import count_labels

    if context.work.labels_path:
        return _import(context, context.bring_own(context.work.labels_path))
    # Exact, so that a label that was taken back does not count.
    path = context.storage.bring(context.own(project_key(context)), exact=True)
    done, total = count_labels(path)
    again_in = timedelta(seconds=context.settings.labeling_poll_seconds)
    if done < total:
        raise Waiting(f"{done} of {total} frames are labelled.", done, total, again_in)
    try:
        return _import(context, path)
    except BadLabels as error:
        # A typo is no reason to lose the labels of a whole video: it can be mended.
        fault = context.in_users_words(str(error))
        raise Waiting(fault, done, total, again_in, fault=fault) from error


def _import(context: StepContext, path: Path) -> dict[str, Any]:
    from components.labeling.folder import import_labels, resolve_spec, scan_label_folder

    work = context.work
    folder = scan_label_folder(path)
    spec = resolve_spec(
        folder,
        task=work.task,
        names=work.names,
        keypoints=work.keypoints,
        flip_idx=work.flip_idx,
    )
    frames = context.layout.frames(context.task_id)
    if not folder.images:
        context.storage.bring(frames)
    labels = context.layout.labels(context.task_id)
    counts = import_labels(folder, labels, frames, spec, progress=context.progress)
    context.storage.keep(labels)
    return {"counts": counts, "spec": spec.model_dump(mode="json")}
