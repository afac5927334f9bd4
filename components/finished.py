"""What a step of a training pipeline has finished, for an attempt that begins behind it.

A run may end because a service was away or a process was killed, hours after the training was
done. What a long step has made is kept below the task's own folder, by a digest of all that it
was made from. So a further attempt takes it up if it would make the same again, and neither an
output of other labels or settings nor one of another task is ever taken for it.
"""

import hashlib
import json
import logging
import shutil
from pathlib import Path

from components.errors import NotFound
from components.files import publish_folder, write_text
from components.layout import Layout
from components.pipeline_step import PipelineStep

logger = logging.getLogger("actverse.pipeline")

_FOLDER, _WHOLE = "finished", "whole.json"


def digest_of(**inputs: str) -> str:
    """The digest of what a step's output depends on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_finished(step: PipelineStep, task_id: str, name: str, digest: str, made: Path) -> None:
    """Keep the folder ``made`` as the output of the step ``name`` from inputs of ``digest``.

    Raises:
        StorageFull: when the disk is full.
        Unavailable: if the storage does not answer.
    """
    folder = _folder(step.layout, task_id) / name / digest
    whole = folder / _WHOLE
    publish_folder(made, folder)
    step.storage.keep(folder)
    # Where the storage is a store, files come one by one: this one says that all are there.
    write_text(whole, json.dumps({"step": name, "digest": digest}))
    step.storage.keep(whole)


def take_finished(step: PipelineStep, task_id: str, name: str, digest: str, target: Path) -> bool:
    """Make ``target`` the output that an earlier attempt has kept; False if there is none.

    Raises:
        StorageFull: when the disk is full.
        Unavailable: if the storage does not answer.
    """
    folder = _folder(step.layout, task_id) / name / digest
    if step.storage.stat(step.storage.key_of(folder / _WHOLE)) is None:
        return False
    try:
        step.storage.bring(folder)
    except NotFound:
        return False
    publish_folder(folder, target)
    (target / _WHOLE).unlink(missing_ok=True)
    logger.info("the step %s takes up what an earlier attempt has finished", name)
    return True


def forget_finished(step: PipelineStep, task_id: str) -> None:
    """Remove what was kept: the task's model is served.

    Raises:
        Unavailable: if the storage does not answer.
    """
    folder = _folder(step.layout, task_id)
    step.storage.delete(step.storage.key_of(folder))
    shutil.rmtree(folder, ignore_errors=True)


def _folder(layout: Layout, task_id: str) -> Path:
    return layout.train_log(task_id) / _FOLDER
