"""The signs of life of a process while its database hangs."""

import os
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gateway import heartbeats
from gateway.alive import is_alive
from gateway.database import open_database
from gateway.heartbeats import Heart
from tests.helpers.postgres import running_postgres
from tests.helpers.relay import Relay
from tests.helpers.servers import wait_until


def test_the_probe_sees_a_process_whose_database_hangs(
    sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heartbeats, "_EVERY_SECONDS", 0.1)
    sign = tmp_path / "alive" / "worker"
    heart = Heart(sessions, ["worker"], sign)
    # A writer that does not let go, as a server that is gone without a word.
    with sessions() as session:
        session.execute(text("BEGIN IMMEDIATE"))
        heart.start()
        wait_until(lambda: is_alive(sign), 10, "the sign")
        os.utime(sign, (0, 0))
        wait_until(lambda: is_alive(sign), 10, "the next sign")
    heart.stop()
    heart.join(10)
    assert not heart.is_alive()


def test_a_postgres_that_says_nothing_is_not_waited_for(tmp_path: Path):
    with running_postgres(tmp_path / "postgres") as server:
        relay = Relay(server.port)
        relay.open()
        relay.hang()
        silent = open_database(f"postgresql+psycopg://postgres@127.0.0.1:{relay.port}/postgres")
        # Without a limit it would wait for ever.
        with pytest.raises(OperationalError, match="timeout expired"), silent.begin() as session:
            session.connection()
        relay.close()
        # The one at the socket takes them; keepalives are for the network.
        url = f"postgresql+psycopg://postgres@/postgres?host={server.folder}&port={server.port}"
        with open_database(url).begin() as session:
            raw = session.connection().connection.driver_connection
            assert raw is not None
            told = raw.info.get_parameters()
            assert told["tcp_user_timeout"] == "15000"
            assert told["keepalives_idle"] == "20"
