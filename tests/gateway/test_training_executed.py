"""A training that is posted, submitted to a Kubeflow Pipelines, really run there, and served."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from components.settings import Settings
from components.storage import open_storage
from gateway.app import create_app
from gateway.database import Sessions
from gateway.keys import create_key
from gateway.leases import claim_step
from gateway.promotions import Promotions
from gateway.runner import Outcome, StepRunner
from gateway.steps import FUNCTIONS
from tests.helpers.blobs import write_labelled_blobs
from tests.helpers.gateways import running_gateway
from tests.helpers.kfp_execution import Execution
from tests.helpers.kfp_server import KfpServer, kfp_server
from tests.helpers.servers import TritonServer, free_ports, new_triton, running_mlflow
from tests.helpers.tiny_onnx import SPECS
from tests.helpers.training_lab import TrainingLab

pytestmark = pytest.mark.slow


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[TritonServer]:
    server = new_triton(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def settings(tmp_path: Path, triton: TritonServer, database_url: str) -> Iterator[Settings]:
    """Nobody looks at the run by himself: its end is told by its exit handler, or not at all."""
    (port,) = free_ports(1)
    (tmp_path / "mlflow").mkdir()
    with running_mlflow(tmp_path / "mlflow") as mlflow_uri:
        yield triton.settings.model_copy(
            update={
                "database_url": database_url or triton.settings.database_url,
                "mlflow_uri": mlflow_uri,
                "gateway_port": port,
                "gateway_uri": f"http://127.0.0.1:{port}",
                "kfp_poll_seconds": 3600.0,
                "reconcile_seconds": 0.5,
                "api_key_secret": SecretStr("keys-secret"),
                "webhook_secret": SecretStr("webhook-secret"),
                "pipeline_secret": SecretStr("pipeline-secret"),
            }
        )


@pytest.fixture
def kfp(settings: Settings, tmp_path: Path) -> Iterator[KfpServer]:
    pods = settings.model_copy(update={"home": tmp_path / "pods", "shape": "cluster"})
    environment = pods.environment(secrets=False)
    environment["ACTVERSE_PIPELINE_SECRET"] = settings.pipeline_secret.get_secret_value()
    with kfp_server(Execution(pods, environment)) as server:
        yield server


@pytest.mark.timeout(900)
def test_a_posted_training_is_run_and_served(
    settings: Settings, sessions: Sessions, kfp: KfpServer
):
    settings = settings.model_copy(update={"kfp_endpoint": kfp.url})
    lab = TrainingLab(settings, sessions, kfp)
    write_labelled_blobs(settings.layout.user_file("ada", "labels"), "detect", 16)
    with sessions.begin() as session:
        key = create_key(session, settings, "ada")
    app = create_app(settings)
    promotions = Promotions(settings, sessions)
    promotions.start()
    try:
        with running_gateway(app, settings.gateway_port), lab.watching():
            client = TestClient(app, headers={"X-API-Key": key})
            training = {"epochs": 2, "imgsz": 96, "plots": False, "threads": 1}
            body = {
                "data_path": "labels", "mode_train_info": training, "model_name": "blobs",
                "names": list(SPECS["detect"].names),
            }  # fmt: skip
            answer = client.post("/training", json=body)
            assert answer.status_code == 202, answer.text
            task_id = answer.json()["task_id"]
            with sessions.begin() as session:
                step = claim_step(session, task_id, "labels", "w", timedelta(minutes=1))
            runner = StepRunner(settings, sessions, open_storage(settings))
            assert runner.run(step, "w", FUNCTIONS["labels"]).outcome is Outcome.SUCCEEDED
            lab.end(task_id, "succeeded", seconds=600)
    finally:
        promotions.stop()
        promotions.join()
    told = client.get(f"/training/{task_id}").json()
    assert (told["state"], told["current_epoch"], told["epochs"]) == ("succeeded", 2, 2)
    (run,) = kfp.named(f"training-{task_id}")
    assert told["run_id"] == run.fields["run_id"]
    deployed = lab.step(task_id).facts["pipeline"]["deploy"]["facts"]
    assert (deployed["model"], deployed["version"]) == ("blobs", 1)
    assert (settings.layout.model_version("blobs", 1) / "model.onnx").is_file()
    states = {step.name: step.state for step in lab.status(task_id).process_status.steps}
    assert set(states.values()) == {"succeeded"}
