"""A task's labels, in the format of whichever tool."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from components.errors import Conflict, NotFound
from components.label_files import find_images
from components.labeling.draft import KEPT, load_draft
from components.labeling.formats import FormatName
from components.labeling.label_set import LabelSet
from components.labeling.pack import pack_labels
from components.labeling.taken import read_taken
from components.labels import LabelSpec
from components.storage import Storage
from gateway.api.acting import storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.at_once import AtOnce
from gateway.labeling import labels_step
from gateway.models import Task
from gateway.openapi import problems
from gateway.tasks import read_task, work_of

_PIECE_BYTES = 2**20

router = APIRouter(prefix="/labeling", tags=["labeling"])


@router.get(
    "/{task_id}/labels",
    operation_id="exportLabels",
    summary="Download the labels of a task",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {}}, "description": "a zip of the labels"},
        **problems(400, 404, 409),
    },
)
def export_labels(
    task_id: str,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    settings: SettingsDep,
    format: FormatName = "yolo",
    images: Annotated[bool, Query(description="with the labelled images")] = False,
) -> StreamingResponse:
    """Those that it trains on; while people label, those that were read last."""
    task = read_task(session, task_id, caller.scope)
    storage = storage_of(request)
    exports: AtOnce = request.app.state.exports
    with (
        exports.one_of(caller.user_id) if images else nullcontext(),
        tempfile.TemporaryDirectory(prefix="labels-", dir=settings.home) as folder,
    ):
        storage = storage.working_in(Path(folder) / "copy")
        labels = _labels(storage, task)
        archive = Path(folder) / "labels.zip"
        pack_labels(labels, format, archive, _images(storage, task) if images else None)
        # It outlives its name, and is gone with whoever reads it, however that ends.
        packed = archive.open("rb")
    return StreamingResponse(
        _pieces(packed),
        media_type="application/zip",
        headers={
            "Content-Length": str(os.fstat(packed.fileno()).st_size),
            "Content-Disposition": f'attachment; filename="{task.id}-{format}.zip"',
        },
    )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _labels(storage: Storage, task: Task) -> LabelSet:
    step, layout = labels_step(task), storage.layout
    try:
        if step.state == "succeeded" and "spec" in step.facts:
            spec = LabelSpec.model_validate(step.facts["spec"])
            folder = storage.bring(layout.labels(task.id))
            kept = (folder / KEPT).is_file()
            return read_taken(folder, spec, {} if kept else _images(storage, task))
        owner = work_of(task).reopens or task.id
        return load_draft(storage.bring(layout.labels_draft(owner)))
    except NotFound as error:
        raise Conflict(
            f"No labels of the task {task.id} have been read yet: look again in a minute."
        ) from error


def _images(storage: Storage, task: Task) -> dict[str, Path]:
    layout, work = storage.layout, work_of(task)
    labels = layout.labels(task.id)
    if any(True for _ in storage.files(storage.key_of(labels / "images"), limit=1)):
        return find_images(storage.bring(labels / "images"))
    if work.folder_path:
        return find_images(storage.bring(layout.user_file(task.user_id, work.folder_path)))
    return find_images(storage.bring(layout.frames(work.reopens or task.id)))
