"""How Triton is told where its repository lies, and which calls need its key."""

import socket
from pathlib import Path

import pytest

from components.errors import BadInput
from components.serving.repository_address import repository_address, repository_environment
from components.serving.server import restrictions
from components.serving.shared_memory import on_this_host
from components.settings import Settings


@pytest.mark.parametrize(
    ("root", "endpoint", "address"),
    [
        ("s3://lab", "", "s3://lab/models"),
        ("s3://lab/a/b_1/", "", "s3://lab/a/b_1/models"),
        ("s3://lab/a", "http://10.0.0.7:8333", "s3://http://10.0.0.7:8333/lab/a/models"),
        # Triton wants a port in any case.
        ("s3://lab/a", "https://minio.example/", "s3://https://minio.example:443/lab/a/models"),
        ("s3://lab/a", "http://s3.local", "s3://http://s3.local:80/lab/a/models"),
    ],
)
def test_s3_is_written_in_tritons_own_way(tmp_path: Path, root: str, endpoint: str, address: str):
    assert repository_address(Settings(home=tmp_path, root=root, s3_endpoint=endpoint)) == address


@pytest.mark.parametrize(
    ("root", "endpoint", "named"),
    [
        ("s3://Lab/a", "", "s3://Lab/a"),
        ("s3://lab/a b", "", "s3://lab/a b"),
        ("s3://lab/a", "minio:9000", "ACTVERSE_S3_ENDPOINT"),
        ("s3://lab/a", "https://host/path", "ACTVERSE_S3_ENDPOINT"),
        ("s3://lab/a", "https://[::1]:9000", "ACTVERSE_S3_ENDPOINT"),
        ("s3://lab/a", "https://host:port", "ACTVERSE_S3_ENDPOINT"),
    ],
)
def test_what_triton_would_misread_is_refused(tmp_path: Path, root: str, endpoint: str, named: str):
    with pytest.raises(BadInput, match=named):
        repository_address(Settings(home=tmp_path, root=root, s3_endpoint=endpoint))


def test_credentials_reach_triton_for_s3_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    folder = Settings(home=tmp_path)
    assert repository_address(folder) == str(tmp_path / "storage" / "models")
    assert repository_environment(folder) == {}
    environment = repository_environment(Settings(home=tmp_path, root="s3://lab", s3_region="eu-1"))
    assert environment["AWS_SECRET_ACCESS_KEY"] == "hidden"
    assert environment["AWS_DEFAULT_REGION"] == "eu-1"
    assert "AWS_PROFILE" not in environment


def test_what_our_clients_use_stays_open():
    assert restrictions("", http=True) == {}
    for http in (True, False):
        options = list(restrictions("k" * 32, http=http).values())
        assert len(options) == 1 + http
        for option in options:
            closed = set(option.partition("=")[2].partition(":")[0].split(","))
            assert not {"inference", "health", "metadata", "model-config", "statistics"} & closed
            assert {"model-repository", "shared-memory", "trace", "logging"} <= closed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_our_own_addresses_are_on_this_host(host: str):
    if host == "[::1]" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    assert on_this_host(f"{host}:8001")


def test_other_addresses_are_not(monkeypatch: pytest.MonkeyPatch):
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    # The address of documentation, which no machine has.
    assert not on_this_host("192.0.2.1:8001")
    monkeypatch.setattr("components.serving.shared_memory.socket.getaddrinfo", nobody)
    assert not on_this_host("triton.nowhere:8001")
