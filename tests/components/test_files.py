"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from components.files import publish_folder, whole_file, whole_folder


class _Broken(Exception):
    pass


def test_a_file_appears_at_the_end_of_the_block_only(tmp_path: Path):
    target = tmp_path / "deep" / "a.txt"
    with whole_file(target) as beside:
        beside.write_text("new")
        assert not target.exists()
        assert beside.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_broken_block_leaves_the_older_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(_Broken), whole_file(target) as beside:
        beside.write_text("half")
        raise _Broken
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_folder_replaces_the_older_one_as_a_whole(tmp_path: Path):
    target = tmp_path / "data"
    for name in ("old", "new"):
        with whole_folder(target) as beside:
            (beside / name).touch()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_broken_block_leaves_the_older_folder(tmp_path: Path):
    target = tmp_path / "data"
    with whole_folder(target) as beside:
        (beside / "old").touch()
    with pytest.raises(_Broken), whole_folder(target) as beside:
        (beside / "half").touch()
        raise _Broken
    assert [p.name for p in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_published_folder_is_the_same_and_survives_its_source(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "a").write_text("x")
    publish_folder(source, target)
    (source / "inner" / "a").unlink()
    assert (target / "inner" / "a").read_text() == "x"


def test_a_published_folder_holds_what_its_links_lead_to(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("x")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").symlink_to("../elsewhere")
    publish_folder(source, tmp_path / "deep" / "target")
    published = tmp_path / "deep" / "target" / "a"
    assert not published.is_symlink()
    assert published.read_text() == "x"
