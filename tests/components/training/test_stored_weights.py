"""A user's own checkpoint is brought from the storage before a training."""

from pathlib import Path

import pytest

from components.errors import BadInput, Refused
from components.settings import Settings
from components.storage import Storage, open_storage
from components.training.stored_weights import bring_weights
from tests.helpers.s3_server import S3Server


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(Settings(home=tmp_path))
    s3: S3Server = request.getfixturevalue("s3")
    root = f"s3://{s3.new_bucket()}/here"
    return open_storage(Settings(home=tmp_path, root=root, s3_endpoint=s3.endpoint))


def test_a_stored_checkpoint_is_brought(storage: Storage) -> None:
    storage.write("users/ann/mice.pt", [b"weights"], max_bytes=100)
    brought = bring_weights("stored:users/ann/mice.pt", storage)
    assert Path(brought).read_bytes() == b"weights"
    assert Path(brought).is_relative_to(storage.layout.root)


@pytest.mark.parametrize("weights", ["", "yolo11n.pt", "models:/mice@champion", "/srv/mice.pt"])
def test_other_weights_stay_as_they_are(storage: Storage, weights: str) -> None:
    assert bring_weights(weights, storage) == weights


def test_a_missing_one_is_named(storage: Storage) -> None:
    with pytest.raises(BadInput, match=r"users/ann/none\.pt are not in the storage"):
        bring_weights("stored:users/ann/none.pt", storage)
    storage.write("users/ann/folder/mice.pt", [b"weights"], max_bytes=100)
    with pytest.raises(BadInput, match="are a folder"):
        bring_weights("stored:users/ann/folder", storage)


@pytest.mark.parametrize("key", ["../secret.pt", "/etc/passwd", "users/../../secret.pt", ""])
def test_no_key_leads_outside(storage: Storage, key: str) -> None:
    with pytest.raises(Refused):
        bring_weights(f"stored:{key}", storage)
