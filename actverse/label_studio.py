"""The embedded Label Studio: its environment, its login. ``python -m actverse.label_studio``

Its pins are none of ours, so it has an environment of its own, made on first use from
``requirements/label-studio.txt``. Run as a program, this makes the environment and ends.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from actverse.reaper import end_groups
from actverse.secrets import embedded_secret, hex_token
from actverse.supervisor import Service
from actverse.terminal import make_console, stopped_by_signal
from actverse.words import plain
from components.errors import ActverseError, BadInput, NotFound, Unavailable, disk_errors
from components.files import write_text
from components.settings import Settings

USERNAME = "admin@actverse.local"
PASSWORD = "label_studio_password"  # noqa: S105 of the file
LOCK = Path(__file__).resolve().parents[1] / "requirements" / "label-studio.txt"

# Its first start makes a database in some hundred steps: half a minute and more.
_PATIENCE = 300.0

_STAMP = ".installed"
_BEGUN = "begun"
_UNFINISHED, _PORT = "unfinished", "port"

Told = Callable[[str], None]


@dataclass(frozen=True)
class Login:
    """How people and programs get into the embedded Label Studio."""

    username: str
    password: str = field(repr=False)
    token: str = field(repr=False)


def label_studio_login(home: Path) -> Login:
    """The login for the Label Studio of ``home``, the same at every start."""
    secrets = home / "secrets"
    return Login(
        USERNAME,
        embedded_secret(secrets, PASSWORD),
        # Its own tokens have this form too.
        embedded_secret(secrets, "label_studio_token", hex_token),
    )


def installed(environment: Path, lock: Path = LOCK) -> bool:
    """Whether an environment holds the Label Studio that ``lock`` names, wholly.

    An environment that was not made here counts as soon as it has Label Studio's program: who
    made it answers for what is in it.
    """
    stamp = _read_stamp(environment)
    if stamp is None or (stamp != _BEGUN and not lock.is_file()):
        return _program(environment).is_file()
    return lock.is_file() and stamp == _stamp_for(lock)


def install_label_studio(
    environment: Path, told: Told = lambda _: None, *, lock: Path = LOCK, uv: str | None = None
) -> None:
    """Make the environment that Label Studio runs in, unless it is there.

    What an earlier attempt left half made, or an older lock, is made anew.

    Args:
        environment: the folder; one that somebody else made is not touched.
        told: is given a line as it goes on.
        lock: what is to be in it, with hashes.
        uv: the program to use; "" for pip. By default uv where it is found.

    Raises:
        NotFound: if there is no lock, as where actverse came as a wheel.
        BadInput: if the folder holds something else.
        Unavailable: if packages cannot be fetched, or are not those of the lock.
        StorageFull: when the disk is full.
    """
    if installed(environment, lock):
        return
    if not lock.is_file():
        raise NotFound(
            f"There is no {lock} to install Label Studio from: run 'python -m venv FOLDER' and "
            "'FOLDER/bin/pip install label-studio', and set ACTVERSE_LABEL_STUDIO_ENV to that "
            "folder."
        )
    with disk_errors("Label Studio's environment"), _alone(environment, told):
        if installed(environment, lock):
            return
        if _read_stamp(environment) is None and _holds_something(environment):
            raise BadInput(
                f"{environment} holds something else than Label Studio: set "
                "ACTVERSE_LABEL_STUDIO_ENV to a folder that is not there yet."
            )
        _clear(environment)
        (environment / _STAMP).write_text(_BEGUN, encoding="ascii")
        told(f"Installing Label Studio into {environment}, once: {_count(lock)} packages, 0.8 GB")
        start = time.monotonic()
        with _shown(told) as line:
            for command in _commands(environment, lock, _find_uv() if uv is None else uv):
                _run(command, environment, line)
        if not _program(environment).is_file():
            raise Unavailable(
                f"{lock} brought no Label Studio for this system: it names packages for Linux "
                "with Python 3.11 and 3.12."
            )
        # The last that is written: without it nothing here counts.
        (environment / _STAMP).write_text(_stamp_for(lock), encoding="ascii")
        told(f"Label Studio is installed ({time.monotonic() - start:.0f} s)")


def label_studio_service(settings: Settings) -> Service:
    """What the supervisor is to keep running.

    Args:
        settings: with the port and the address filled in.
    """
    from components.labeling.label_studio.server import label_studio_launch, label_studio_ready

    login, work = label_studio_login(settings.home), _work(settings.home)
    _prepare(work)
    write_text(work / _PORT, str(settings.label_studio_port))
    argv, environment = label_studio_launch(
        settings,
        port=settings.label_studio_port,
        work=work,
        username=login.username,
        password=login.password,
        token=login.token,
    )
    return Service(
        "Label Studio",
        argv,
        environment,
        settings.home / "logs" / "label-studio.log",
        lambda: label_studio_ready(settings.label_studio_url),
        _PATIENCE,
        relied_on=True,
    )


def usual_port(settings: Settings) -> int:
    """The port of the last start, so that people's bookmarks go on leading there; else 0."""
    try:
        port = int((_work(settings.home) / _PORT).read_text(encoding="ascii"))
        with socket.create_server((settings.host, port)):
            return port
    except (OSError, ValueError, OverflowError):
        return 0


def check_login(settings: Settings) -> None:
    """See that the Label Studio which has been started takes our token.

    Raises:
        ActverseError: if it does not.
    """
    work = _work(settings.home)
    try:
        answer = httpx.get(
            f"{settings.label_studio_url}/api/current-user/whoami",
            headers={"Authorization": f"Token {settings.label_studio_token.get_secret_value()}"},
            timeout=30.0,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise Unavailable(
            f"Label Studio does not tell who is logged in ({type(error).__name__}): read its log."
        ) from error
    if not answer.is_success:
        raise ActverseError(
            f"Label Studio answers our token with status {answer.status_code}: bring back the "
            f"secrets that it was first started with, or move {work} away to begin without its "
            "projects."
        )
    (work / _UNFINISHED).unlink(missing_ok=True)


def _work(home: Path) -> Path:
    return home / "label-studio"


def _prepare(work: Path) -> None:
    """Let Label Studio begin anew if it never got through its first start.

    It makes its user and the user's token one after the other: ended between the two, it would
    refuse the token for ever.
    """
    if (work / _UNFINISHED).exists():
        shutil.rmtree(work)
    if not work.exists():
        work.mkdir(parents=True, mode=0o700)
        (work / _UNFINISHED).touch()


def _program(environment: Path) -> Path:
    return environment / "bin" / "label-studio"


def _clear(environment: Path) -> None:
    try:
        shutil.rmtree(environment, ignore_errors=True)
        environment.mkdir(exist_ok=True)
    except PermissionError as error:
        raise BadInput(
            f"Nothing can be written to {environment}: set ACTVERSE_LABEL_STUDIO_ENV to a folder "
            "of yours."
        ) from error


def _read_stamp(environment: Path) -> str | None:
    try:
        return (environment / _STAMP).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _stamp_for(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _count(lock: Path) -> int:
    lines = lock.read_text(encoding="utf-8").splitlines()
    # Some have a version for each Python.
    return len({line.partition("==")[0] for line in lines if line[:1].isalnum()})


def _holds_something(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


@contextlib.contextmanager
def _alone(environment: Path, told: Told) -> Iterator[None]:
    """Two stacks that start at the same time make one environment between them."""
    environment.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(environment.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told("Label Studio is being installed by another process: waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _find_uv() -> str:
    """The uv that ``make setup`` brought, or one on PATH; empty if there is none."""
    ours = Path(sys.prefix).parent / ".uv" / "bin" / "uv"
    return str(ours) if ours.is_file() else shutil.which("uv") or ""


def _commands(environment: Path, lock: Path, uv: str) -> list[list[str]]:
    python = str(environment / "bin" / "python")
    if uv:
        return [
            # It is to keep the stamp that stands in the folder already.
            [
                uv,
                "venv",
                "--quiet",
                "--allow-existing",
                "--python",
                sys.executable,
                str(environment),
            ],
            [uv, "pip", "sync", "--python", python, "--require-hashes", str(lock)],
        ]
    return [
        [sys.executable, "-m", "venv", str(environment)],
        [
            *(python, "-m", "pip", "install", "--progress-bar", "off"),
            *("--disable-pip-version-check", "--no-input", "--require-hashes", "-r", str(lock)),
        ],
    ]


@contextlib.contextmanager
def _shown(told: Told) -> Iterator[Told]:
    """Takes what the installer says: one line that changes on a terminal, else told on."""
    console = make_console(stderr=True)
    bars = Progress(
        SpinnerColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bars.add_task("")

    def line(said: str) -> None:
        # uv's list of what is there now.
        if not said.strip() or said.startswith((" + ", " - ", " ~ ")):
            return
        if console.is_terminal:
            bars.update(task, description=plain(said.strip())[: console.width - 20])
        else:
            told(plain(said))

    with bars:
        yield line


def _run(command: list[str], environment: Path, line: Told) -> None:
    words: list[str] = []
    # A group of its own: what it starts ends with it.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for said in process.stdout:
            words.append(said.strip())
            line(said.rstrip())
        code = process.wait()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        end_groups({process.pid}, patience=2.0)
        process.wait()
    if code:
        raise Unavailable(
            f"Label Studio could not be installed into {environment} ({_reason(words)}): see "
            "that the package index can be reached, and start again."
        )


def _reason(words: list[str]) -> str:
    """The first error that an installer tells, with its causes."""
    told = [word for word in words if word] or ["it said nothing"]
    first = next((i for i, word in enumerate(told) if word.lower().startswith("error")), -3)
    return plain(" ".join(told[first:][:3]))[:400].rstrip(".: ")


def main() -> None:
    """Make the environment, for ``make label-studio``."""
    try:
        with stopped_by_signal():
            install_label_studio(Settings().label_studio_env, click.echo)
    except KeyboardInterrupt:
        sys.exit(130)
    except ActverseError as error:
        click.echo(f"actverse: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
