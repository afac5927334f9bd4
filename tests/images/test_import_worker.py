"""The worker that exports checkpoints which users bring: in the trainer image, away from home."""

import os
from pathlib import Path

import cv2
import pytest
from mlflow import MlflowClient

from components.settings import Settings
from gateway.work import Work
from tests.conftest import RunningStack
from tests.helpers.checkpoints import held_out_frame, write_checkpoint
from tests.helpers.servers import wait_until
from tests.helpers.workers import new_workers
from tests.images.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_a_checkpoint_is_brought_by_the_worker_in_trainer(
    engine: Engine, stack: RunningStack, tmp_path: Path
):
    settings = Settings(
        home=tmp_path,
        mlflow_uri=stack.addresses.mlflow,
        mlflow_token=stack.settings.mlflow_token,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
    )
    workers = new_workers(settings)
    images = settings.layout.user_file("ada", "images")
    images.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), held_out_frame(901 + number, (160, 120)))
    write_checkpoint(images.with_name("mice.pt"), "yolo11n")
    task_id = workers.submit(
        "model", Work(model_path="mice.pt", images_path="images", model_name="ada-mice")
    )
    given = settings.environment(secrets=True)
    container = engine.client.containers.run(
        engine.image("trainer"),
        ["actverse", "serve", "worker", "--queue", "import", "--slots", "1"],
        detach=True,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=f"{os.getuid()}:{os.getgid()}",
        volumes={str(tmp_path): {"bind": str(tmp_path), "mode": "rw"}},
        environment={k: v for k, v in given.items() if k.startswith("ACTVERSE_")},
    )

    def brought() -> bool:
        container.reload()
        assert container.status == "running", container.logs().decode()
        assert workers.state(task_id) != "failed", container.logs().decode()
        return bool(workers.facts(task_id, "bring").get("version"))

    try:
        wait_until(brought, 240, "the checkpoint to be brought")
    finally:
        container.remove(force=True)
    version = MlflowClient(stack.addresses.mlflow).get_model_version("ada-mice", "1")
    assert version.tags["origin.file"] == "mice.pt"
    assert version.tags["task_id"] == task_id
