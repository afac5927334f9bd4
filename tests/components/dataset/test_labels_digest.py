"""The digest that a cached dataset is known by."""

from pathlib import Path

import pytest

from components.dataset.labels_digest import check_known, labels_digest
from components.errors import BadInput, NotFound
from components.settings import Settings
from components.storage import Storage, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Two labelled frames of the task t."""
    storage = open_storage(Settings(home=tmp_path))
    layout = storage.layout
    for folder, suffix in ((layout.labels("t"), "txt"), (layout.frames("t"), "jpg")):
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / f"{name}.{suffix}").write_text(f"{name} {suffix}")
    return storage


def test_a_temporary_is_none_of_the_labels(storage: Storage):
    before = labels_digest(storage, "t")
    (storage.layout.labels("t") / ".a.txt.half").write_text("a temporary")
    assert labels_digest(storage, "t") == before


def test_whatever_changes_the_dataset_changes_it(storage: Storage):
    layout = storage.layout
    seen = {labels_digest(storage, "t")}

    def changed() -> bool:
        before = len(seen)
        seen.add(labels_digest(storage, "t"))
        return len(seen) > before

    label = layout.labels("t") / "a.txt"
    label.write_text("A TXT")  # of the same length
    assert changed()
    (layout.frames("t") / "a.jpg").write_text("another picture")
    assert changed()
    (layout.labels("t") / "held_out.txt").write_text("a")
    assert changed()
    (layout.frames("t") / "b.jpg").rename(layout.frames("t") / "c.jpg")
    assert changed()
    (layout.labels("t") / "b.txt").unlink()
    assert changed()
    (layout.labels("t") / "images").mkdir()
    (layout.labels("t") / "images" / "a.jpg").write_text("the user's own")
    assert changed()


def test_without_labels_there_is_none(storage: Storage):
    with pytest.raises(NotFound, match="task other"):
        labels_digest(storage, "other")


def test_a_pod_makes_no_dataset_that_could_be_taken_for_another(tmp_path: Path):
    pod = Settings(home=tmp_path, shape="cluster", without_secrets=True)
    with pytest.raises(BadInput, match="labels_digest"):
        check_known("", pod)
    check_known("abc", pod)
    check_known("", Settings(home=tmp_path))
