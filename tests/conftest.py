"""What tests of the whole system share: one running stack, as a user would have it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from xdist.scheduler.loadfile import LoadFileScheduling

from actverse.client import Client
from actverse.stack import Addresses, Stack, find_running, running
from actverse.watch import Outcome, watch_task
from actverse.where import local_key
from components.settings import Settings
from tests.helpers.servers import wait_until

ONE_SERVER = ("tests/components/labeling/label_studio/",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow files first, so that no process is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class _Shares(LoadFileScheduling):
    """Gives a file to one process, or a whole folder whose files share a slow server."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((folder for folder in ONE_SERVER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Shares:
    """Distribute the tests where they run in several processes, as by ``make test``."""
    return _Shares(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show sizes and times that tests noted, for whoever reads the log of CI."""
    for report in terminalreporter.getreports("passed"):
        for name, figure in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(str(figure))


@dataclass(frozen=True)
class RunningStack:
    """A stack, and a client with the local user's key."""

    stack: Stack
    addresses: Addresses
    client: Client

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    def submit(self, video: Path | str, labels: Path, **request: Any) -> str:
        """Post a task as the command line does; return its id."""
        return self.client.create_task(video, labels, **request)

    def outcome(self, task_id: str) -> Outcome:
        """Wait for a task's end."""
        return watch_task(self.client, task_id, Console(quiet=True))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for the whole session; leases are short, so that lost ones cost little."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), lease_seconds=6, reconcile_seconds=1)
    with running(settings) as started:
        # Right after so many starts an answer may take its time.
        wait_until(lambda: find_running(settings.home) is not None, 60, "the stack to answer")
        addresses = find_running(settings.home)
        assert addresses is not None
        key = local_key(settings)
        with Client(addresses.gateway, key) as client, pytest.MonkeyPatch.context() as patch:
            # What lets MLflow's client in the tests' own process in.
            for name, value in started.settings.tracking_environment().items():
                patch.setenv(name, value)
            yield RunningStack(started, addresses, client)
