"""Real brokers for tests: a private RabbitMQ and a private Redis on the loopback.

Each has its own folder, ports, log and, for RabbitMQ, its own Erlang port mapper and cookie,
so that nothing is shared with a broker that the machine may run already.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.servers import free_ports, wait_until


class _Broker:
    """A server process that can be ended, killed and started again on the same port."""

    name: str
    port: int

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def launch(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_until(self._answers_or_dead, 90, self.name)
        if self._dead():
            self.stop()
            raise AssertionError(f"{self.name} ended:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it as a machine that is shut down would; what it holds is written down."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal, SIGSTOP for example."""
        os.killpg(self._processes[-1].pid, number)

    def _run(self, argv: list[str], **env: str) -> None:
        """Start a process in a session of its own: its children end with it."""
        with self.log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    argv,
                    env=os.environ | env,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _dead(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def _answers_or_dead(self) -> bool:
        return self._dead() or self.answers()

    def _end(self, how: signal.Signals) -> None:
        # The latest first: RabbitMQ takes leave of its port mapper.
        while self._processes:
            process = self._processes.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class RabbitMQ(_Broker):
    """A RabbitMQ of one node, without plugins, not started."""

    name = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port, self._distribution, self._mapper = free_ports(3)
        self._node = f"actverse{secrets.token_hex(4)}@localhost"
        (folder / "plugins").write_text("[].\n")
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def launch(self) -> None:
        # A port mapper of our own, in the foreground: Erlang would leave a daemon behind.
        mapper = ["epmd", "-address", "127.0.0.1", "-port", str(self._mapper)]
        self._run(mapper)
        wait_until(lambda: self._dead() or _listens(self._mapper), 20, "epmd")
        self._run(
            [str(_rabbitmq_script())],
            HOME=str(self.folder),
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=str(self._mapper),
            RABBITMQ_CONF_ENV_FILE=str(self.folder / "none"),
            RABBITMQ_CONFIG_FILE=str(self.folder / "none"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(self.folder / "none"),
            RABBITMQ_DIST_PORT=str(self._distribution),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "plugins"),
            RABBITMQ_GENERATED_CONFIG_DIR=str(self.folder / "generated"),
            RABBITMQ_LOG_BASE=str(self.folder / "log"),
            RABBITMQ_LOGS="-",
            RABBITMQ_MNESIA_BASE=str(self.folder / "data"),
            RABBITMQ_NODENAME=self._node,
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_PID_FILE=str(self.folder / "pid"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        )

    def answers(self) -> bool:
        from kombu import Connection

        try:
            with Connection(self.url, connect_timeout=5) as connection:
                connection.connect()
        except (OSError, *Connection(self.url).connection_errors):
            return False
        return True


class RedisServer(_Broker):
    """A Redis that keeps an append-only file, not started."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        argv = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._run(["redis-server", *argv])

    def answers(self) -> bool:
        from redis import Redis, RedisError

        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """The URL of a running RabbitMQ whose data lie in ``folder``."""
    with _running(RabbitMQ(folder)) as broker:
        yield broker.url


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a running Redis whose data lie in ``folder``."""
    with _running(RedisServer(folder)) as broker:
        yield broker.url


def missing_rabbitmq() -> str:
    """Why no RabbitMQ can be started here, empty if one can; a reason to skip a test."""
    for name in ("rabbitmq-server", "epmd"):
        if shutil.which(name) is None:
            return f"no {name} is installed (Debian: apt-get install rabbitmq-server)"
    return ""


def missing_redis() -> str:
    """Why no Redis can be started here, empty if one can; a reason to skip a test."""
    if shutil.which("redis-server") is None:
        return "no redis-server is installed (Debian: apt-get install redis-server)"
    return ""


@contextmanager
def _running(broker: _Broker) -> Iterator[_Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def _rabbitmq_script() -> Path:
    """RabbitMQ's own script; Debian's wrapper of that name changes to the user rabbitmq."""
    found = shutil.which("rabbitmq-server")
    assert found is not None
    return Path(found).resolve().parent / "rabbitmq-server"


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
