"""A real Label Studio for tests, on a free port of the loopback.

Its first start makes a database in some hundred steps, which takes half a minute. The
database is kept below pytest's cache, so later sessions start in seconds.
"""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from components.labeling.label_studio.server import label_studio_launch, label_studio_ready
from components.settings import Settings
from tests.helpers.servers import free_ports, wait_until

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

USERNAME, PASSWORD, TOKEN = "person@example.com", "a password of tests", "5" * 40
_DATABASE = "label_studio.sqlite3"


def label_studio_env() -> Path:
    """The environment that tests take Label Studio from."""
    given = os.environ.get("ACTVERSE_TEST_LABEL_STUDIO_ENV")
    return Path(given).absolute() if given else Settings().label_studio_env


def missing_label_studio() -> str:
    """Why no test can have a Label Studio; empty if one can."""
    env = label_studio_env()
    if (env / "bin" / "label-studio").is_file():
        return ""
    return f"Label Studio is not installed in {env}, nor named by ACTVERSE_TEST_LABEL_STUDIO_ENV"


@dataclass
class LabelStudioServer:
    """A running Label Studio; ``settings`` name it and hold its token."""

    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return self.settings.label_studio_url

    def sdk(self) -> "LabelStudio":
        """Its SDK, with the person's own token."""
        from label_studio_sdk import LabelStudio

        http = httpx.Client(timeout=60, trust_env=False)
        return LabelStudio(base_url=self.url, api_key=TOKEN, max_retries=0, httpx_client=http)

    @contextmanager
    def logged_in(self) -> Iterator[httpx.Client]:
        """A client that has logged in by the form, as a browser does."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            client.get("/user/login/").raise_for_status()
            form = {
                "csrfmiddlewaretoken": client.cookies["csrftoken"],
                "email": USERNAME,
                "password": PASSWORD,
            }
            answer = client.post("/user/login/", data=form, headers={"Referer": self.url})
            assert answer.status_code == 302, answer.text
            yield client


@contextmanager
def running_label_studio(
    folder: Path, cache: Path, *, root: str = "", s3_endpoint: str = ""
) -> Iterator[LabelStudioServer]:
    """A Label Studio whose data lie in ``folder``.

    Args:
        cache: keeps a fresh database for the next one.
        root, s3_endpoint: as in Settings.
    """
    (port,) = free_ports(1)
    settings = Settings(
        home=folder / "home",
        root=root,
        s3_endpoint=s3_endpoint,
        label_studio_url=f"http://127.0.0.1:{port}",
        label_studio_token=TOKEN,
        label_studio_env=label_studio_env(),
    )
    argv, env = label_studio_launch(
        settings, port=port, work=folder, username=USERNAME, password=PASSWORD, token=TOKEN
    )
    database = folder / "data" / _DATABASE
    fresh = _fresh(cache)
    if fresh.is_file():
        _copy(fresh, database)
    log = folder / "label-studio.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=env, cwd=folder, stdout=out, stderr=out, start_new_session=True
        )

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return label_studio_ready(settings.label_studio_url)

    try:
        wait_until(ready, 240, "Label Studio")
        if not fresh.is_file():
            _copy(database, fresh)
        yield LabelStudioServer(settings, process, log)
    finally:
        _end(process)


def _fresh(cache: Path) -> Path:
    """Where the database of the installed version is kept."""
    (about,) = (label_studio_env() / "lib").glob("python3*/site-packages/label_studio-*.dist-info")
    return cache / f"{about.stem}.sqlite3"


def _copy(source: Path, target: Path) -> None:
    beside = target.with_name(f".{os.getpid()}.{target.name}")
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(beside)) as other:
        one.backup(other)
    beside.replace(target)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
