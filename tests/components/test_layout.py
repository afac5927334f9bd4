"""The layout: no name and no key leads out of its folder."""

from pathlib import Path

import pytest

from components.errors import BadInput, Refused
from components.layout import Layout


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0", ".hidden", "a" * 129, "_a"])
def test_names_that_are_no_single_folder_are_refused(tmp_path: Path, name: str):
    layout = Layout(tmp_path)
    for folder in (
        layout.video,
        layout.frames,
        layout.preannotations,
        layout.labels,
        layout.train_log,
        layout.results,
    ):
        with pytest.raises(BadInput):
            folder(name)
    with pytest.raises(BadInput):
        layout.model_version(name, 1)
    with pytest.raises(BadInput):
        layout.user_file(name, "a")


@pytest.mark.parametrize("key", ["..", "../bob/a", "a/../../bob", "/etc/passwd", "a\0b"])
def test_a_key_that_leaves_the_users_prefix_is_refused(tmp_path: Path, key: str):
    with pytest.raises(Refused):
        Layout(tmp_path).user_file("ada", key)


def test_a_link_out_of_the_users_prefix_is_refused(tmp_path: Path):
    prefix = tmp_path / "users" / "ada"
    prefix.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (prefix / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Refused):
        Layout(tmp_path).user_file("ada", "link")


def test_a_key_of_the_users_own_is_a_path_below_the_prefix(tmp_path: Path):
    assert Layout(tmp_path).user_file("ada", "a/./b.mp4") == tmp_path / "users/ada/a/b.mp4"
