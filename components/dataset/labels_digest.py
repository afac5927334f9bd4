"""What a dataset is a function of, in one word: so a cache knows when the labels have changed."""

import hashlib

from components.errors import BadInput, NotFound
from components.settings import Settings
from components.storage import Storage


def labels_digest(storage: Storage, task_id: str) -> str:
    """SHA-256, in hexadecimal, of what the storage has of a task's labels and of their images.

    Names, sizes and S3's entity tags; in a folder the times of writing stand for these. So
    nothing need be brought, and what is written anew counts as changed.

    Raises:
        NotFound: if the task has no labels.
    """
    layout = storage.layout
    digest, found = hashlib.sha256(), False
    for folder in (layout.labels(task_id), layout.frames(task_id)):
        for file in storage.files(storage.key_of(folder)):
            mark = file.checksum or file.modified.isoformat()
            digest.update(f"{file.key}\0{file.bytes}\0{mark}\n".encode())
            found = True
        if not found:
            raise NotFound(f"The task {task_id} has no labels: label some of its frames.")
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
