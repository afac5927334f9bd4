"""A registered version's files, brought into a folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput, NotFound, disk_errors
from components.registry.connection import registry
from components.registry.register import DIGEST_TAG, ONNX_FILE, PARITY_FOLDER

MAX_MODEL_BYTES = 2 * 2**30
"""Protobuf's own limit: a file with all of its weights inside cannot be larger."""


@dataclass(frozen=True)
class DownloadedVersion:
    """The files of a version in a local folder, not yet checked in any way.

    Attributes:
        onnx: the model, byte by byte as it was registered.
        parity_set: the folder of its parity set.
    """

    onnx: Path
    parity_set: Path


def download_version(
    name: str, version: int, folder: Path, tracking_uri: str, *, max_bytes: int = MAX_MODEL_BYTES
) -> DownloadedVersion:
    """Download the ONNX file and the parity set of a version into ``folder``.

    Raises:
        NotFound: if there is no such version, or it has no ONNX file or parity set.
        BadInput: if the files are larger than ``max_bytes`` in all, or the ONNX file is not
            the one that was registered.
        StorageFull: if the disk is full.
        Unavailable: if the server does not answer.
    """
    what = f"version {version} of the model {name}"
    with registry(tracking_uri, what) as client, disk_errors(what):
        from mlflow.artifacts import download_artifacts, list_artifacts

        registered = client.get_model_version(name, str(version)).tags.get(DIGEST_TAG)
        uri = client.get_model_version_download_uri(name, str(version)).rstrip("/")

        def entries(of: str) -> dict[str, int]:
            listed = list_artifacts(of, tracking_uri=tracking_uri)
            return {Path(entry.path).name: entry.file_size or 0 for entry in listed}

        top = entries(uri)
        for part in (ONNX_FILE, PARITY_FOLDER):
            if part not in top:
                raise NotFound(f"There is no {part} in {what}: register it with actverse.")
        size = top[ONNX_FILE] + sum(entries(f"{uri}/{PARITY_FOLDER}").values())
        if size > max_bytes:
            raise BadInput(
                f"The files of {what} have {size} bytes, more than the {max_bytes} allowed."
            )
        for part in (ONNX_FILE, PARITY_FOLDER):
            download_artifacts(
                f"{uri}/{part}",
                dst_path=str(folder),
                tracking_uri=tracking_uri,
            )
    digest = hashlib.sha256((folder / ONNX_FILE).read_bytes()).hexdigest()
    if digest != registered:
        raise BadInput(
            f"The {ONNX_FILE} of {what} is not the file that was registered (its digest is "
            f"{digest[:12]}, not {(registered or 'recorded')[:12]}): register the model again."
        )
    return DownloadedVersion(folder / ONNX_FILE, folder / PARITY_FOLDER)
