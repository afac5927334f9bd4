"""The stack that is to suffer: ``actverse up`` in a home of its own, started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from actverse.stack import find_running
from actverse.where import local_key
from components.settings import Settings
from tests.chaos.findings import Finding, Log
from tests.chaos.processes import Family, Found, end_all
from tests.helpers.servers import free_ports

_START_SECONDS, _STOP_SECONDS, _REAPED_SECONDS = 900.0, 90.0, 30.0
_PORTS = ("gateway", "mlflow", "triton_http", "triton_grpc", "triton_metrics")


class StackUnderTest:
    """Plays the machine's init: keeps ``actverse up`` running, and sees what it leaves.

    Args:
        folder: the run's; home, temporary files and logs lie in it.
        given: more of its environment.
    """

    def __init__(self, folder: Path, given: Mapping[str, str], log: Log) -> None:
        self.folder, self.home, self.temporary = folder, folder / "home", folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.home.mkdir()
        self.family = Family(folder)
        self.log = log
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        ports = zip(_PORTS, free_ports(len(_PORTS)), strict=True)
        self._environment = {
            **{name: value for name, value in os.environ.items() if "ACTVERSE" not in name},
            **{f"ACTVERSE_{name.upper()}_PORT": str(port) for name, port in ports},
            "ACTVERSE_HOME": str(self.home),
            "ACTVERSE_LEASE_SECONDS": "10",
            "ACTVERSE_REQUEUE_SECONDS": "6",
            "ACTVERSE_RECONCILE_SECONDS": "1",
            # The sink of the notifications is on this machine.
            "ACTVERSE_ALLOW_PRIVATE_URLS": "true",
            "TMPDIR": str(self.temporary),
            # On a busy machine threads that wait for each other in a loop take hours.
            "OMP_WAIT_POLICY": "PASSIVE",
            **given,
        }

    @property
    def settings(self) -> Settings:
        """The settings of the stack, as far as they are known from outside."""
        return Settings(
            home=self.home,
            database_url=self._environment.get("ACTVERSE_DATABASE_URL", ""),
        )

    @property
    def gateway(self) -> str:
        """The gateway's address; it stays the same."""
        return f"http://127.0.0.1:{self._environment['ACTVERSE_GATEWAY_PORT']}"

    @property
    def triton_port(self) -> str:
        """The port of Triton's gRPC service."""
        return self._environment["ACTVERSE_TRITON_GRPC_PORT"]

    def admin_key(self) -> str:
        """The local administrator's API key."""
        return local_key(self.settings)

    def start(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Start it and wait until it serves.

        Raises:
            RuntimeError: if it does not.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not interrupted():
            self._launch()
            if self._serves(deadline):
                self.starts += 1
                return
            # What was killed before may still hold the ports for a moment.
            time.sleep(2.0)
        raise RuntimeError(f"The stack does not start: {self.last_words()}")

    def keep_up(self) -> None:
        """Start it again if it has ended; who finds orphans then says so and ends them."""
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        self.log.say(f"the stack's own process has ended with {code}; it is started again")
        if code not in (-signal.SIGKILL, 0, 130, 143, -signal.SIGTERM):
            self.log.find(Finding("stack", f"actverse up ended with {code}: {self.last_words()}"))
        self.sweep("after the supervisor's end")
        self.start()

    def sweep(self, when: str, patience: float = _REAPED_SECONDS) -> None:
        """Wait until nothing of the stack runs; what does all the same is a finding, and ended."""
        deadline = time.monotonic() + patience
        while (left := self.members()) and time.monotonic() < deadline:
            time.sleep(0.5)
        if left:
            shown = ", ".join(sorted({one.role for one in left}))
            self.log.find(
                Finding("leftovers", f"{len(left)} orphans {when}: {shown}", tuple(map(str, left)))
            )
            end_all(left)
            time.sleep(1.0)

    def members(self) -> list[Found]:
        """What runs of the stack, without the servers that it stands on."""
        servers = str(self.folder / "servers")
        return [
            one
            for one in self.family.look()
            if servers not in one.command
            and one.role not in ("rabbitmq", "postgres", "redis")
            and not self._is_of_servers(one.pid, servers)
        ]

    def stop(self) -> None:
        """End it as a user would; what is left then is a finding."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.log.find(
                    Finding("stack", f"actverse up had not stopped after {_STOP_SECONDS:g} s")
                )
                self._process.kill()
                self._process.wait()
        self.sweep("after the stack was stopped", 20.0)
        self._process = None

    def last_words(self) -> str:
        """The end of what it has said."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-2:])[-500:]

    @property
    def _log(self) -> Path:
        return self.folder / "up.log"

    def _launch(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        program = Path(sys.executable).parent / "actverse"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "up"],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _serves(self, deadline: float) -> bool:
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            found = find_running(self.home)
            if found is not None and found.pid == self._process.pid:
                return True
            time.sleep(0.5)
        return False

    def _is_of_servers(self, pid: int, servers: str) -> bool:
        try:
            if str(Path(f"/proc/{pid}/cwd").readlink()).startswith(servers):
                return True
            return f"HOME={servers}" in Path(f"/proc/{pid}/environ").read_text(errors="replace")
        except OSError:
            return False
