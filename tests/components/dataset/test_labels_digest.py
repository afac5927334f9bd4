"""The digest that a cached dataset is known by."""

from pathlib import Path

import pytest

from components.dataset.labels_digest import check_known, labels_digest
from components.errors import BadInput, NotFound
from components.layout import Layout
from components.settings import Settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two labelled frames of the task t."""
    layout = Layout(tmp_path / "storage")
    for folder, suffix in ((layout.labels("t"), "txt"), (layout.frames("t"), "jpg")):
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / f"{name}.{suffix}").write_text(f"{name} {suffix}")
    return layout


def test_the_same_labels_have_one_digest_wherever_they_lie(layout: Layout, tmp_path: Path):
    before = labels_digest(layout, "t")
    layout.root.rename(tmp_path / "moved")
    assert labels_digest(Layout(tmp_path / "moved"), "t") == before
    (tmp_path / "moved/labels/t/.a.txt.half").write_text("a temporary")
    assert labels_digest(Layout(tmp_path / "moved"), "t") == before


def test_whatever_changes_the_dataset_changes_it(layout: Layout):
    seen = {labels_digest(layout, "t")}

    def changed() -> bool:
        before = len(seen)
        seen.add(labels_digest(layout, "t"))
        return len(seen) > before

    (layout.labels("t") / "a.txt").write_text("other labels")
    assert changed()
    (layout.frames("t") / "a.jpg").write_text("another picture")
    assert changed()
    (layout.labels("t") / "held_out.txt").write_text("a")
    assert changed()
    (layout.frames("t") / "b.jpg").rename(layout.frames("t") / "c.jpg")
    assert changed()
    (layout.labels("t") / "b.txt").unlink()
    assert changed()


def test_images_beside_the_labels_are_taken_instead_of_the_frames(layout: Layout):
    images = layout.labels("t") / "images"
    images.mkdir()
    (images / "a.jpg").write_text("the user's own")
    before = labels_digest(layout, "t")
    (layout.frames("t") / "a.jpg").write_text("no longer of use")
    assert labels_digest(layout, "t") == before
    (images / "a.jpg").write_text("changed")
    assert labels_digest(layout, "t") != before


def test_without_labels_there_is_none(tmp_path: Path):
    with pytest.raises(NotFound, match="task t"):
        labels_digest(Layout(tmp_path), "t")


def test_a_pod_makes_no_dataset_that_could_be_taken_for_another(tmp_path: Path):
    pod = Settings(home=tmp_path, shape="cluster", without_secrets=True)
    with pytest.raises(BadInput, match="labels_digest"):
        check_known("", pod)
    check_known("abc", pod)
    check_known("", Settings(home=tmp_path))
