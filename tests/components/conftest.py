"""Real servers that the tests of several steps share, one of each a session."""

from collections.abc import Iterator

import pytest

from tests.helpers.servers import TritonServer, new_triton, running_mlflow


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton with an empty repository; a test takes a model name of its own."""
    server = new_triton(tmp_path_factory.mktemp("triton"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an MLflow server with a registry in SQLite; a test takes names of its own."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri
