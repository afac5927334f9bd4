"""What a dataset is a function of, in one word: so a cache knows when the labels have changed."""

import hashlib
from pathlib import Path

from components.errors import BadInput, NotFound
from components.layout import Layout
from components.settings import Settings
from components.storage_keys import walk


def labels_digest(layout: Layout, task_id: str) -> str:
    """SHA-256, in hexadecimal, of the names and bytes of a task's labels and of their images.

    Args:
        layout: the local folders; those of an S3 storage are brought first.
        task_id: the task.

    Raises:
        NotFound: if it has no labels or no images here.
    """
    labels, images = layout.labels(task_id), layout.labelled_images(task_id)
    folders = [labels] if images.is_relative_to(labels) else [labels, images]
    digest = hashlib.sha256()
    for folder in folders:
        files = list(walk(folder, ""))
        if not files:
            raise NotFound(f"Nothing lies in {folder}: label some frames of the task {task_id}.")
        for name, entry in files:
            with Path(entry.path).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{folder.parent.name}/{name}\0{content}\n".encode())
    return digest.hexdigest()


def check_known(digest: str, settings: Settings) -> None:
    """Refuse to make a dataset that Kubeflow's cache would take for one of other labels.

    Only what succeeds is cached. A local run has no cache, so it may do without a digest.

    Raises:
        BadInput: if the digest is empty in a pod.
    """
    if settings.shape == "cluster" and not digest:
        raise BadInput(
            "The parameter labels_digest is empty, so a cached dataset could be one of other "
            "labels: submit the run by actverse, or give any text that changes with the labels."
        )
