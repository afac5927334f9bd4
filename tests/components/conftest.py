"""Real servers that the tests of several steps share, one of each a session."""

from collections.abc import Iterator

import pytest

from tests.helpers.s3_server import CREDENTIALS, S3Server, running_s3
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """moto's server; a test takes a bucket of its own."""
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """moto's server, with credentials in the environment as boto3 looks for them."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server
