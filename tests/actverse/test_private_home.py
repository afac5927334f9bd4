"""The home folder is its owner's alone: a new one, an old one, and what is made in it."""

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actverse.private import OWNER_ONLY, own_home, owner_only
from actverse.secrets import embedded_secret
from actverse.supervisor import Service, Supervisor
from components.errors import Refused


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_home_is_closed_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        own_home(tmp_path / "deep" / "home")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "deep" / "home") == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o711, 0o705])
def test_an_old_home_is_closed_and_what_is_in_it_stays(tmp_path: Path, mode: int):
    home = tmp_path / "home"
    home.mkdir()
    (home / "actverse.db").write_text("tasks")
    home.chmod(mode)
    own_home(home)
    assert _mode(home) == 0o700
    assert (home / "actverse.db").read_text() == "tasks"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_account_reads_nothing_of_an_old_home():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir(mode=0o755)
        database = home / "actverse.db"
        database.write_text("tasks")
        nobody = pwd.getpwnam("nobody").pw_uid

        def read() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["/bin/cat", database], user=nobody, group=nobody, capture_output=True, text=True
            )

        assert read().stdout == "tasks"
        own_home(home)
        refused = read()
        assert refused.stdout == ""
        assert "Permission denied" in refused.stderr


def test_a_folder_that_all_accounts_share_is_no_home(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(Refused, match="ACTVERSE_HOME"):
        own_home(shared)
    assert shared.stat().st_mode & 0o7777 == 0o1777


def test_what_is_made_meanwhile_is_the_owners_and_afterwards_as_before(tmp_path: Path):
    before = os.umask(0o022)
    try:
        with owner_only():
            (tmp_path / "within").mkdir()
            (tmp_path / "within" / "file").write_text("")
        (tmp_path / "after").write_text("")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "within") == 0o700
    assert _mode(tmp_path / "within" / "file") == 0o600
    assert _mode(tmp_path / "after") == 0o644


def test_what_a_service_and_its_children_make_is_the_owners(tmp_path: Path):
    code = (
        "import pathlib, subprocess, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "(folder / 'own').write_text('')\n"
        "subprocess.run(['touch', str(folder / 'childs')], check=True)\n"
        "(folder / 'ready').touch()\n"
        "time.sleep(600)\n"
    )
    supervisor = Supervisor()
    try:
        supervisor.start(
            [
                Service(
                    "sample",
                    [sys.executable, "-c", code, str(tmp_path)],
                    dict(os.environ),
                    tmp_path / "logs" / "sample.log",
                    (tmp_path / "ready").exists,
                )
            ]
        )
    finally:
        supervisor.stop()
    for name in ("own", "childs", "ready"):
        assert _mode(tmp_path / name) & OWNER_ONLY == 0, name


def test_a_secret_is_closed_before_it_is_written(tmp_path: Path):
    embedded_secret(tmp_path / "secrets", "any")
    assert _mode(tmp_path / "secrets") == 0o700
    assert _mode(tmp_path / "secrets" / "any") == 0o600
