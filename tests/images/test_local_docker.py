"""How a step's container ends is told as it was, however soon Docker forgets it."""

from pathlib import Path

import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from kfp.local import docker_task_handler
from kfp.local.status import Status

from components.settings import Settings
from pipelines.local_docker import docker_runner, end_containers
from tests.helpers.servers import wait_until
from tests.images.conftest import Engine

pytestmark = pytest.mark.docker


def test_a_failure_is_no_success_when_docker_is_quicker_than_we_are(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    wait = Container.wait

    def late(container: Container) -> object:
        """Ask how it ended when Docker has had all the time it needs to remove it."""

        def settled() -> bool:
            try:
                container.reload()
            except NotFound:
                return True
            state = container.attrs["State"]["Status"]
            return state == "exited" and not container.attrs["HostConfig"]["AutoRemove"]

        wait_until(settled)
        return wait(container)

    monkeypatch.setattr(Container, "wait", late)
    # The runner has KFP's function replaced for its process.
    monkeypatch.setattr(
        docker_task_handler, "run_docker_container", docker_task_handler.run_docker_container
    )
    runner = docker_runner(Settings(home=tmp_path), "run-1")
    root = tmp_path / "root"
    root.mkdir()
    for code in (3, 0):
        handler = docker_task_handler.DockerTaskHandler(
            engine.settings.light_image,
            ["sh", "-c", f"echo done as $(id -u) in {root}; exit {code}"],
            str(root),
            runner,
        )
        assert handler.run() is (Status.FAILURE if code else Status.SUCCESS)
        assert f"in {root}" in capsys.readouterr().out
    assert engine.client.containers.list(all=True, filters={"label": "actverse.run=run-1"}) == []


def test_a_runs_containers_are_ended_and_gone(engine: Engine):
    filters = {"label": "actverse.run=run-2"}
    for command in ("sleep 600", "true"):
        engine.client.containers.run(
            engine.settings.light_image,
            ["sh", "-c", command],
            detach=True,
            network_mode="none",
            labels={"actverse.run": "run-2"},
        )
    assert len(engine.client.containers.list(all=True, filters=filters)) == 2
    end_containers("run-2")
    assert engine.client.containers.list(all=True, filters=filters) == []
