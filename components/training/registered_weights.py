"""The checkpoint that a registered version was made from, brought back to train on from."""

import re
from pathlib import Path

from components.errors import BadInput, NotFound, disk_errors
from components.registry.aliases import read_champion
from components.registry.connection import registry
from components.registry.download import MAX_MODEL_BYTES
from components.registry.tags import BROUGHT, ORIGIN_TAG
from components.training.result import MODEL

PREFIX = "models:/"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")


def resolve(uri: str, tracking_uri: str) -> tuple[str, int]:
    """The name and version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` names now.

    Raises:
        BadInput: for any other text, or without a tracking server.
        NotFound: if there is no such model or alias.
        StepFailed: if the server refuses.
        Unavailable: if it does not answer.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise BadInput(
            f"The weights {uri} name no registered model: write models:/NAME@ALIAS or "
            "models:/NAME/VERSION."
        )
    if not tracking_uri:
        raise BadInput(f"The weights {uri} lie on a tracking server: train with one, or without.")
    name, alias = match["name"], match["alias"]
    if alias is None:
        return name, int(match["version"])
    version = read_champion(name, alias, tracking_uri=tracking_uri)
    if version is None:
        raise NotFound(f"No version of the model {name} has the alias {alias!r}: set it first.")
    return name, version


def fetch_weights(name: str, version: int, folder: Path, tracking_uri: str) -> Path:
    """Download ``model.pt`` of the training run of a version into ``folder``, unchecked.

    Raises:
        NotFound: if there is no such version, or it has no such checkpoint.
        BadInput: if the file is larger than a model may be.
        StorageFull: if the disk is full.
        StepFailed: if the server refuses.
        Unavailable: if it does not answer.
    """
    what = f"version {version} of the model {name}"
    with registry(tracking_uri, what) as client, disk_errors("the weights to start from"):
        made = client.get_model_version(name, str(version))
        if made.tags.get(ORIGIN_TAG) == BROUGHT:
            raise NotFound(f"The {what} was brought as a finished file, without its {MODEL}.")
        run_id = made.run_id or ""
        entries = client.list_artifacts(run_id) if run_id else []
        size = next((e.file_size or 0 for e in entries if e.path == MODEL and not e.is_dir), None)
        if size is None:
            raise NotFound(f"There is no {MODEL} in the training run of {what}.")
        if size > MAX_MODEL_BYTES:
            raise BadInput(
                f"The {MODEL} of {what} has {size} bytes, more than the {MAX_MODEL_BYTES} allowed."
            )
        folder.mkdir(parents=True, exist_ok=True)
        return Path(client.download_artifacts(run_id, MODEL, str(folder)))
