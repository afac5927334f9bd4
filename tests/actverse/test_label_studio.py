"""The embedded Label Studio: installed whole or not at all, wired in, the same after a restart."""

import base64
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import psutil
import pytest

from actverse.commands import run_video
from actverse.label_studio import (
    LOCK,
    USERNAME,
    Login,
    check_login,
    install_label_studio,
    installed,
    label_studio_login,
    label_studio_service,
    usual_port,
)
from actverse.stack import Addresses, Stack, embedded_settings, find_running, state_path
from components.errors import ActverseError, BadInput, NotFound, Refused, Unavailable
from components.settings import Settings
from tests.actverse.conftest import Gateway, refused_port
from tests.helpers.label_studio import label_studio_env, missing_label_studio
from tests.helpers.servers import free_ports, wait_until

pytestmark = pytest.mark.slow

UV = Path(sys.prefix).parent / ".uv" / "bin" / "uv"
CODE = "from actverse.cli import main; main()"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock that names a small package with a program of Label Studio's name, here on disk."""
    return _write_lock(tmp_path / "index")


def _write_lock(folder: Path, version: str = "1.0", hashed: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    wheel = folder / f"label_studio-{version}-py3-none-any.whl"
    about = f"label_studio-{version}.dist-info"
    parts = {
        "label_studio_stub.py": "def main():\n    print('here')\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: label-studio\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nlabel-studio = label_studio_stub:main\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in parts.items())
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**parts, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    lock = folder / "label-studio.txt"
    lock.write_text(
        f"--no-index\n--find-links {folder}\nlabel-studio=={version} \\\n"
        f"    --hash=sha256:{hashed or hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    )
    return lock


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _version(environment: Path) -> str:
    (about,) = environment.glob("lib/python3*/site-packages/label_studio-*.dist-info")
    return about.stem


@pytest.fixture
def slow_uv(tmp_path: Path) -> str:
    """A uv that brings Label Studio's program, says so, and then hangs."""
    program = tmp_path / "slow-uv"
    program.write_text(
        "#!/bin/sh\n"
        'for last in "$@"; do :; done\n'
        'mkdir -p "$last/bin" && echo > "$last/bin/label-studio"\n'
        "sleep 60 &\n"
        f"echo $! > {tmp_path / 'pid'}\n"
        'echo "Downloading"\n'
        "wait\n"
    )
    program.chmod(0o700)
    return str(program)


@pytest.mark.parametrize(
    "uv",
    [
        pytest.param(
            str(UV), marks=pytest.mark.skipif(not UV.is_file(), reason="uv is not in .uv")
        ),
        "",
    ],
    ids=["uv", "pip"],
)
def test_label_studio_is_installed_once_from_its_lock(tmp_path: Path, lock: Path, uv: str):
    environment, told = tmp_path / "env", list[str]()
    assert not installed(environment, lock)
    install_label_studio(environment, told.append, lock=lock, uv=uv)
    assert installed(environment, lock)
    program = environment / "bin" / "label-studio"
    assert subprocess.run([program], capture_output=True, text=True).stdout == "here\n"
    assert str(environment) in told[0]
    assert "1 packages" in told[0]
    assert len(told) > 2
    told.clear()
    install_label_studio(environment, told.append, lock=lock, uv="no such program")
    assert told == []


def test_our_own_lock_names_the_extras():
    """Else pip, where there is no uv, asks for hashes of what the lock has without them."""
    assert re.search(r"^psycopg\[binary\]==", LOCK.read_text(), re.MULTILINE)


def test_another_lock_is_installed_anew(tmp_path: Path, lock: Path):
    environment = tmp_path / "env"
    install_label_studio(environment, lock=lock)
    _write_lock(lock.parent, "2.0")
    assert not installed(environment, lock)
    install_label_studio(environment, lock=lock)
    assert installed(environment, lock)
    assert _version(environment) == "label_studio-2.0"


def test_an_interrupted_installation_is_begun_anew(tmp_path: Path, lock: Path, slow_uv: str):
    environment = tmp_path / "env"

    def press_ctrl_c(line: str) -> None:
        if "Downloading" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install_label_studio(environment, press_ctrl_c, lock=lock, uv=slow_uv)
    assert (environment / "bin" / "label-studio").is_file()
    started = int((tmp_path / "pid").read_text())
    assert started not in psutil.pids() or psutil.Process(started).status() == psutil.STATUS_ZOMBIE
    assert not installed(environment, lock)
    lock_away = tmp_path / "nowhere.txt"
    assert not installed(environment, lock_away)
    (environment / "half").touch()
    install_label_studio(environment, lock=lock)
    assert installed(environment, lock)
    assert not (environment / "half").exists()


def test_two_that_install_at_once_make_one_environment(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
):
    environment = tmp_path / "env"
    begun, go_on, waits = threading.Event(), threading.Event(), threading.Event()

    def first(_: str) -> None:
        begun.set()
        assert go_on.wait(30)

    heard: list[str] = []

    def second(line: str) -> None:
        heard.append(line)
        waits.set()

    def install(told) -> threading.Thread:
        thread = threading.Thread(
            target=install_label_studio, args=(environment, told), kwargs={"lock": lock}
        )
        thread.start()
        return thread

    one = install(first)
    assert begun.wait(30)
    other = install(second)
    assert waits.wait(30)
    go_on.set()
    one.join(60)
    other.join(60)
    assert installed(environment, lock)
    assert len(heard) == 1
    assert "waiting" in heard[0]


def test_a_package_that_is_not_the_locks_is_refused(tmp_path: Path):
    lock = _write_lock(tmp_path / "index", hashed="0" * 64)
    environment = tmp_path / "env"
    with pytest.raises(Unavailable, match=r"(?i)hash.*start again") as raised:
        install_label_studio(environment, lock=lock)
    assert "\n" not in str(raised.value)
    assert not installed(environment, lock)


def test_without_a_network_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = f"http://127.0.0.1:{refused_port()}/simple"
    for name, value in {
        "UV_DEFAULT_INDEX": index,
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
        "PIP_INDEX_URL": index,
        "PIP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    lock = tmp_path / "label-studio.txt"
    lock.write_text(f"label-studio==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Unavailable, match="package index can be reached, and start again"):
        install_label_studio(tmp_path / "env", lock=lock)
    assert not installed(tmp_path / "env", lock)


def test_without_a_lock_one_can_bring_an_environment_of_ones_own(tmp_path: Path):
    environment, lock = tmp_path / "env", tmp_path / "nowhere.txt"
    with pytest.raises(NotFound, match=r"pip install label-studio.*ACTVERSE_LABEL_STUDIO_ENV"):
        install_label_studio(environment, lock=lock)
    assert not environment.exists()
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "label-studio").touch()
    install_label_studio(environment, lock=lock)
    assert installed(environment, lock)


def test_nobody_elses_folder_is_touched(tmp_path: Path, lock: Path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "thesis.tex").write_text("years")
    with pytest.raises(BadInput, match="holds something else"):
        install_label_studio(tmp_path / "env", lock=lock)
    assert (tmp_path / "env" / "thesis.tex").read_text() == "years"
    own = tmp_path / "own" / "bin"
    own.mkdir(parents=True)
    (own / "label-studio").write_text("mine")
    install_label_studio(own.parent, lock=lock)
    assert (own / "label-studio").read_text() == "mine"


def test_settings_name_label_studio_only_where_it_runs(tmp_path: Path):
    without = embedded_settings(Settings(home=tmp_path))
    assert not without.label_studio_url
    assert not without.label_studio_token.get_secret_value()
    assert not (tmp_path / "secrets" / "label_studio_token").exists()
    first, second = (embedded_settings(Settings(home=tmp_path), label_studio=True) for _ in "ab")
    assert first.label_studio_url == f"http://127.0.0.1:{first.label_studio_port}"
    token = first.label_studio_token.get_secret_value()
    assert re.fullmatch("[0-9a-f]{40}", token)
    assert second.label_studio_token == first.label_studio_token
    login = label_studio_login(tmp_path)
    assert login == label_studio_login(tmp_path)
    assert token not in repr(login)
    assert login.password not in repr(login)
    for name in ("label_studio_password", "label_studio_token"):
        assert stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) == 0o600
    passed_on = first.environment(secrets=False)
    assert token not in passed_on.values()


def test_another_label_studio_is_kept_and_none_started_beside_it(tmp_path: Path):
    named = Settings(
        home=tmp_path, label_studio_url="http://labels:8080", label_studio_token="t" * 40
    )
    assert embedded_settings(named).label_studio_url == "http://labels:8080"
    with pytest.raises(BadInput, match="http://labels:8080 already"):
        Stack(named, label_studio=True)


def _pretend_installed(tmp_path: Path, **settings: object) -> Settings:
    program = tmp_path / "env" / "bin" / "label-studio"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.touch()
    return Settings(home=tmp_path / "home", label_studio_env=tmp_path / "env", **settings)


def test_the_port_of_the_last_start_is_taken_again_where_it_is_free(tmp_path: Path):
    given = _pretend_installed(tmp_path)
    assert usual_port(given) == 0
    first = embedded_settings(given, label_studio=True)
    label_studio_service(first)
    assert embedded_settings(given, label_studio=True).label_studio_port == first.label_studio_port
    fixed = _pretend_installed(tmp_path, label_studio_port=free_ports(1)[0])
    assert embedded_settings(fixed, label_studio=True).label_studio_port == fixed.label_studio_port
    with httpx_server(first.label_studio_port, 200):
        other = embedded_settings(given, label_studio=True)
        assert other.label_studio_port != first.label_studio_port


@contextmanager
def httpx_server(port: int, status: int) -> Iterator[None]:
    """Answers every request with one status."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_first_start_that_was_interrupted_is_begun_anew(tmp_path: Path):
    settings = embedded_settings(_pretend_installed(tmp_path), label_studio=True)
    database = settings.home / "label-studio" / "data" / "label_studio.sqlite3"
    for whole in (False, True):
        label_studio_service(settings)
        assert database.parent.is_dir()
        assert not database.exists()
        database.write_text("made")
        if whole:
            with httpx_server(settings.label_studio_port, 200):
                check_login(settings)
    label_studio_service(settings)
    assert database.read_text() == "made"


def test_a_label_studio_with_another_token_is_told(tmp_path: Path):
    settings = embedded_settings(_pretend_installed(tmp_path), label_studio=True)
    with httpx_server(settings.label_studio_port, 401), pytest.raises(ActverseError) as raised:
        check_login(settings)
    assert re.search("status 401: bring back the secrets", str(raised.value))
    assert settings.label_studio_token.get_secret_value() not in str(raised.value)
    with pytest.raises(Unavailable, match="ConnectError"):
        check_login(settings)


@pytest.fixture
def older_stack(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a stack that was started before there was a Label Studio in it."""
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    addresses = asdict(Addresses(gateway.url, "", "", "", os.getpid()))
    del addresses["label_studio"]
    state_path(tmp_path).write_text(json.dumps(addresses))
    return tmp_path


def test_the_addresses_of_an_older_stack_are_read(older_stack: Path, gateway: Gateway):
    addresses = find_running(older_stack)
    assert addresses is not None
    assert (addresses.gateway, addresses.label_studio) == (gateway.url, "")


def test_label_studio_is_asked_for_only_where_it_can_be_had(older_stack: Path, tmp_path: Path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")
    with pytest.raises(Refused, match="has no Label Studio: stop it"):
        run_video(str(video), None, label_studio=True)
    with pytest.raises(Refused, match="operator"):
        run_video(str(video), None, gateway="http://127.0.0.1:9", key="k", label_studio=True)


@contextmanager
def _up(home: Path) -> Iterator[list[str]]:
    """The words of an ``actverse up --label-studio`` that runs while the block does."""
    environment = {
        **os.environ,
        "ACTVERSE_HOME": str(home),
        "ACTVERSE_LABEL_STUDIO_ENV": str(label_studio_env()),
    }
    with (home.parent / "up.log").open("w+") as log:
        up = subprocess.Popen(
            [sys.executable, "-u", "-c", CODE, "up", "--label-studio"], env=environment, stdout=log
        )

        def ready() -> bool:
            assert up.poll() is None, (home.parent / "up.log").read_text()
            return "Ctrl-C" in (home.parent / "up.log").read_text()

        try:
            # The stack itself loses patience sooner.
            wait_until(ready, 600, "the stack")
            family = psutil.Process(up.pid).children(recursive=True)
            assert [p for p in family if "label-studio" in " ".join(p.cmdline())]
            yield (home.parent / "up.log").read_text().splitlines()
            up.send_signal(signal.SIGINT)
            up.wait(60)
        finally:
            up.kill()
            up.wait()
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _printed(words: list[str], name: str) -> str:
    (value,) = (line.split(maxsplit=1)[1] for line in words if line.strip().startswith(name))
    return value


def _told_by(command: str, home: Path) -> str:
    """What a command of actverse tells that was printed."""
    argv = [sys.executable, "-c", CODE, *command.split()[1:]]
    environment = {**os.environ, "ACTVERSE_HOME": str(home)}
    return subprocess.run(
        argv, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def _log_in(person: httpx.Client, username: str, password: str) -> None:
    """As a browser does; the client has the session then."""
    person.get("/user/login/").raise_for_status()
    form = {
        "csrfmiddlewaretoken": person.cookies["csrftoken"],
        "email": username,
        "password": password,
    }
    answer = person.post("/user/login/", data=form, headers={"Referer": str(person.base_url)})
    assert answer.status_code == 302, answer.text


@pytest.mark.label_studio
@pytest.mark.timeout(900)  # its first start is half a minute of work
@pytest.mark.skipif(bool(missing_label_studio()), reason=missing_label_studio())
def test_a_real_label_studio_runs_with_the_stack_and_keeps_its_projects(tmp_path: Path):
    home = tmp_path / "home"
    logins: list[tuple[str, Login]] = []
    for start in range(2):
        with _up(home) as words:
            login = label_studio_login(home)
            url = _printed(words, "Label Studio  ").removeprefix("Studio").strip()
            logins.append((url, login))
            assert _printed(words, "user") == USERNAME
            assert _told_by(_printed(words, "password"), home) == login.password
            assert login.token not in "\n".join(words)
            assert login.password not in "\n".join(words)
            addresses = find_running(home)
            assert addresses is not None
            assert addresses.label_studio == url
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as person:
                _log_in(person, USERNAME, login.password)
                me = person.get("/api/current-user/whoami").json()
                assert me["email"] == USERNAME
            with httpx.Client(
                base_url=url,
                headers={"Authorization": f"Token {login.token}"},
                timeout=60,
                trust_env=False,
            ) as program:
                if start == 0:
                    made = program.post("/api/projects", json={"title": "mice-t-0123456789ab"})
                    assert made.status_code == 201, made.text
                listed = program.get("/api/projects").json()["results"]
            assert [project["title"] for project in listed] == ["mice-t-0123456789ab"]
            logs = "".join(log.read_text() for log in (home / "logs").glob("*.log"))
            assert login.token not in logs
            assert login.password not in logs
    assert logins[0] == logins[1]
