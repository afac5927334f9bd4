"""A real PostgreSQL for tests, private to a folder, on a free port of the loopback."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.servers import free_ports


@dataclass(frozen=True)
class Postgres:
    """A running server; its superuser is ``postgres``, who needs no password at the socket."""

    port: int
    folder: Path
    programs: Path

    @property
    def environment(self) -> dict[str, str]:
        """With which psql finds it, as the superuser."""
        path = f"{self.programs}:{os.environ['PATH']}"
        return {"PATH": path, "PGHOST": str(self.folder), "PGPORT": str(self.port)}


def postgres_programs() -> Path:
    """The folder with initdb; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if here := shutil.which("initdb"):
        return Path(here).parent
    pytest.skip("PostgreSQL is not installed")


@contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """A server that asks for passwords over the network; its data lie in ``folder``."""
    programs = postgres_programs()
    folder.mkdir(mode=0o755, parents=True)
    (port,) = free_ports(1)
    # It refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"

    def run(*argv: str) -> None:
        # Each time: another run of the tests closes the folders above.
        for parent in folder.parents if user else ():
            if parent.owner() == "root" and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        subprocess.run(
            [str(programs / argv[0]), *argv[1:]],
            user=user,
            cwd=folder,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    run(
        *("initdb", "--pgdata", str(data), "--username=postgres", "--no-sync"),
        *("--auth-host=scram-sha-256", "--auth-local=trust"),
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield Postgres(port, folder, programs)
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
