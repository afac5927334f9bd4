"""The servers of an installation in the light image, as a cluster would have them."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from docker.models.containers import Container

from tests.helpers.servers import free_ports, wait_until
from tests.images.conftest import Engine

pytestmark = pytest.mark.docker

SECOND = 10**9


@contextmanager
def started(engine: Engine, *command: str, **environment: object) -> Iterator[Container]:
    container = engine.client.containers.run(
        engine.image("light"),
        list(command),
        detach=True,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": "", "/var/lib/actverse": "uid=10001"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        environment=environment,
        # The image's own check, but sooner.
        healthcheck={"interval": SECOND, "timeout": 20 * SECOND},
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def test_gateway_and_tracking_server_run_in_light(engine: Engine):
    gateway_port, mlflow_port, triton_port = free_ports(3)
    home, mlflow_uri = "/var/lib/actverse", f"http://127.0.0.1:{mlflow_port}"
    mlflow = started(
        engine,
        *("mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{home}/mlflow.db"),
        *("--artifacts-destination", f"{home}/artifacts"),
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    gateway = started(
        engine,
        *("actverse", "serve", "gateway"),
        ACTVERSE_GATEWAY_PORT=gateway_port,
        ACTVERSE_MLFLOW_URI=mlflow_uri,
        ACTVERSE_TRITON_URL=f"127.0.0.1:{triton_port}",
        ACTVERSE_API_KEY_SECRET="a secret that is used by this test alone",
        ACTVERSE_WEBHOOK_SECRET="another that is used by this test alone",
    )
    with mlflow as server, gateway as container:
        wait_until(lambda: answers(f"{mlflow_uri}/health"), 90, "the tracking server")
        wait_until(lambda: answers(f"http://127.0.0.1:{gateway_port}/healthz"), 60, "the gateway")

        def checked() -> bool:
            container.reload()
            return container.attrs["State"]["Health"]["Status"] == "healthy"

        wait_until(checked, 60, "the image's health check")
        for one in (container, server):
            # The signal reaches the server itself, which is the container's first process.
            one.stop(timeout=20)
            assert one.wait()["StatusCode"] == 0, one.logs().decode()
