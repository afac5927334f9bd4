"""The embedded stack: what it refuses at its start, and what it leaves at its end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actverse.stack import (
    Stack,
    api_key_path,
    embedded_settings,
    find_running,
    running,
    state_path,
)
from components.errors import BadInput, Refused
from components.serving.server import SHARED_MEMORY
from components.settings import Settings

pytestmark = pytest.mark.slow


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=rf"port {port} .* ACTVERSE_MLFLOW_PORT"):
            embedded_settings(Settings(home=tmp_path, mlflow_port=port))


def test_secrets_last_over_starts_and_only_their_owner_reads_them(tmp_path: Path):
    first = embedded_settings(Settings(home=tmp_path))
    second = embedded_settings(Settings(home=tmp_path))
    assert first.webhook_secret == second.webhook_secret
    assert first.webhook_secret.get_secret_value() not in repr(first)
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_stack_in_one_home_is_refused(stack):
    with pytest.raises(Refused, match="already"):
        Stack(Settings(home=stack.settings.home)).start()
    assert find_running(stack.settings.home) is not None


def test_a_stopped_stack_leaves_no_process_and_no_shared_memory(tmp_path: Path):
    settings = Settings(home=tmp_path)
    with running(settings) as started:
        family = psutil.Process().children(recursive=True)
        ours = [p for p in family if str(tmp_path) in " ".join(p.environ().values())]
        assert len(ours) >= 3
        prefix = started._shared_memory_prefix
        assert api_key_path(tmp_path).stat().st_mode & 0o077 == 0
    assert not [p for p in ours if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert prefix
    assert not list(SHARED_MEMORY.glob(f"{prefix}*"))
    assert not state_path(tmp_path).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_actverse_up_ends_everything_when_it_is_asked_to(tmp_path: Path, number: int):
    up = subprocess.Popen(
        [sys.executable, "-u", "-c", "from actverse.cli import main; main()", "up"],
        env={**os.environ, "ACTVERSE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout is not None
        out = ""
        while "Ctrl-C" not in out:
            line = up.stdout.readline()
            assert line, out
            out += line
        family = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(number)
        out += up.communicate(timeout=60)[0]
    finally:
        up.kill()
    secrets = [path.read_text() for path in (tmp_path / "secrets").iterdir()]
    assert len(secrets) >= 5
    assert not [secret for secret in secrets if secret in out]
    for command in (["keys", "show"], ["keys", "show", "mlflow"]):
        assert f"actverse {' '.join(command)}" in out
        shown = subprocess.run(
            [sys.executable, "-c", "from actverse.cli import main; main()", *command],
            env={**os.environ, "ACTVERSE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() in secrets
    mode = {path: path.stat().st_mode & 0o077 for path in (tmp_path / "logs").iterdir()}
    assert set(mode.values()) == {0}, mode
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
