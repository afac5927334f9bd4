"""The servers below a stack of the shape ``cluster``: each private, on the loopback, killable."""

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.plan import Target
from tests.helpers.brokers import RabbitMQ, RedisServer
from tests.helpers.postgres import postgres_programs
from tests.helpers.servers import free_ports, wait_until


class PostgresServer:
    """A PostgreSQL whose data lie in ``folder``, not started; it keeps what a crash leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = postgres_programs()
        (self._port,) = free_ports(1)
        self._password = secrets.token_hex(16)
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, mode=0o755)
        if self._user:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        secret = folder / "password"
        secret.write_text(self._password)
        if self._user:
            os.chown(secret, pwd.getpwnam(self._user).pw_uid, -1)
        subprocess.run(
            [
                *(str(self._programs / "initdb"), "--pgdata", str(folder / "data"), "--no-sync"),
                *("--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}"),
            ],
            user=self._user,
            cwd=folder,
            check=True,
            timeout=120,
            stdout=subprocess.DEVNULL,
        )

    @property
    def url(self) -> str:
        address = f"127.0.0.1:{self._port}"
        return f"postgresql+psycopg://postgres:{self._password}@{address}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._launch()
        wait_until(self._answers_in_time, 90, "PostgreSQL")

    def _answers_in_time(self) -> bool:
        # What is left of a killed one keeps a new one from starting, for a moment.
        if self._process is not None and self._process.poll() is not None:
            self._launch()
        return self.answers()

    def _launch(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self._programs / "postgres"), "-D", str(self.folder / "data")),
                    *("-p", str(self._port), "-k", str(self.folder)),
                    # A killed process loses nothing that it has written; only a power cut would.
                    *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                    *("-c", "max_connections=200"),
                ],
                user=self._user,
                cwd=self.folder,
                env={**os.environ, "PWD": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answers(self) -> bool:
        engine = create_engine(self.url, connect_args={"connect_timeout": 5})
        try:
            engine.connect().close()
        except SQLAlchemyError:
            return False
        finally:
            engine.dispose()
        return True

    def stop(self) -> None:
        """End it at once; what it holds is on the disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Servers:
    """RabbitMQ, PostgreSQL and Redis, each in its own folder below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._rabbitmq = RabbitMQ(folder / "rabbitmq")
        self._redis = RedisServer(folder / "redis")
        self._postgres = PostgresServer(folder / "postgres")

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which a stack finds them."""
        return {
            "ACTVERSE_BROKER_URL": self._rabbitmq.url,
            "ACTVERSE_EVENTS_URL": self._rabbitmq.url,
            "ACTVERSE_REDIS_URL": self._redis.url,
            "ACTVERSE_DATABASE_URL": self._postgres.url,
        }

    def start(self) -> None:
        """Start all and wait until they answer."""
        self._rabbitmq.start()
        self._redis.start()
        self._postgres.start()

    def again(self, target: Target) -> None:
        """Start one again that was killed: as whatever keeps it running would."""
        server = {
            Target.RABBITMQ: self._rabbitmq,
            Target.REDIS: self._redis,
            Target.POSTGRES: self._postgres,
        }[target]
        server.stop()
        server.start()

    def stop(self) -> None:
        """End all."""
        for server in (self._postgres, self._redis, self._rabbitmq):
            server.stop()


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """All three while the block runs."""
    servers = Servers(folder)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
