"""The training pipeline's YAML in the built images: as the gateway runs it, and as in pods."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from actverse.client import Client
from actverse.sample import make_sample
from actverse.stack import find_running, running
from actverse.where import local_key
from components.serving.control import TritonControl
from components.settings import Settings
from components.storage import Storage, open_storage
from components.training.settings import TrainingSettings
from components.video.extract import uniform_indices
from pipelines import TRAINING_STEPS
from pipelines.backend import RunRequest, RunState, RunStatus
from pipelines.compile import compile_pipeline
from pipelines.local_backend import LocalBackend
from pipelines.run_folder import RunFolder
from tests.conftest import RunningStack
from tests.helpers.pods import run_in_pods
from tests.helpers.s3_server import CREDENTIALS, running_s3
from tests.helpers.servers import wait_until
from tests.images.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900), pytest.mark.slow]

STEPS = (*TRAINING_STEPS, "run-end")
TRAINING = {"epochs": 6, "imgsz": 96, "batch": 4, "threads": 1}
REPORT_SECRET = "a secret of the pipelines' exit handler"


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack whose pipelines run in the images."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        home=home, pipeline_runner="docker", reconcile_seconds=1, pipeline_secret=REPORT_SECRET
    )
    with running(settings) as started:
        wait_until(lambda: find_running(home) is not None, 60, "the stack to answer")
        addresses = find_running(home)
        assert addresses is not None
        with (
            Client(addresses.gateway, local_key(settings)) as client,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in started.settings.tracking_environment().items():
                patch.setenv(name, value)
            yield RunningStack(started, addresses, client)


@dataclass(frozen=True)
class Trained:
    """A task of the gateway that has succeeded, and its run."""

    task_id: str
    run: RunStatus
    request: RunRequest
    log: str


@pytest.fixture(scope="module")
def trained(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("clip")
    truth = make_sample(folder / "sample.mp4", frames=60, wh=(160, 120))
    truth.write_labels(folder / "labels", uniform_indices(60, 40))
    task_id = stack.submit(
        folder / "sample.mp4",
        folder / "labels",
        names=list(truth.spec.names),
        model_name="shapes",
        training=TRAINING,
    )
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error
    backend = LocalBackend(stack.settings)
    run = backend.find(f"training-{task_id}")
    assert run is not None
    found = RunFolder(stack.settings.home / "pipelines" / "runs" / run.run_id).request()
    assert found is not None
    return Trained(task_id, run, found[0], "\n".join(backend.logs(run.run_id)))


def served(stack: RunningStack, model: str) -> bool:
    """Whether the first version of a model is the champion, and Triton serves it."""
    version = MlflowClient(stack.addresses.mlflow).get_model_version_by_alias(model, "champion")
    assert version.tags["serving.state"] == "ready"
    with TritonControl(stack.settings.triton_url) as triton:
        return triton.ready_versions(model) == {int(version.version)} == {1}


def seconds(run: RunStatus) -> str:
    spent = {t.name: (t.ended - t.started).total_seconds() for t in run.tasks}
    return ", ".join(f"{name} {value:.0f} s" for name, value in spent.items())


def test_the_gateway_trains_in_the_images(
    stack: RunningStack, trained: Trained, record_property: Callable[[str, object], None]
):
    record_property("figure", f"training in images: {seconds(trained.run)}")
    assert trained.run.state == RunState.SUCCEEDED
    assert [(t.name, t.state) for t in trained.run.tasks] == [
        (name, RunState.SUCCEEDED) for name in STEPS
    ]
    assert served(stack, "shapes")


def test_a_step_that_fails_in_its_image_fails_the_run(stack: RunningStack, trained: Trained):
    backend = LocalBackend(stack.settings, own_session=False)
    training = TrainingSettings(**TRAINING, weights="stored:users/nobody/none.pt")
    arguments = {**trained.request.arguments, "training": training.model_dump_json()}
    run_id = backend.submit(RunRequest("training", "training-on-purpose", arguments))
    wait_until(lambda: backend.status(run_id).state.ended, 240, "the run's end")
    run = backend.status(run_id)
    assert run.state == RunState.FAILED
    assert run.error.startswith("The weights users/nobody/none.pt are not in the storage")
    assert [(t.name, t.state) for t in run.tasks] == [
        ("dataset", RunState.SUCCEEDED),
        ("train", RunState.FAILED),
        ("run-end", RunState.SUCCEEDED),
    ]
    said = "\n".join(backend.logs(run_id, "run-end"))
    assert f"The run ended as FAILED: {run.error}" in said
    assert served(stack, "shapes")


def test_an_image_that_is_not_there_fails_the_run(stack: RunningStack, trained: Trained):
    settings = stack.settings.model_copy(update={"image_tag": "0.0.0-never-built"})
    backend = LocalBackend(settings, own_session=False)
    request = replace(trained.request, name="training-without-image")
    run_id = backend.submit(request)
    wait_until(lambda: backend.status(run_id).state.ended, 240, "the run's end")
    run = backend.status(run_id)
    assert run.state == RunState.FAILED
    assert run.error.startswith(f"There is no image {settings.light_image}, and it cannot be")


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, trained: Trained, stack: RunningStack
) -> Iterator[Storage]:
    """An S3 store with the labelled frames of the trained task."""
    folder = tmp_path_factory.mktemp("s3")
    with running_s3(folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        settings = Settings(
            home=folder, root=f"s3://{server.new_bucket()}/lab", s3_endpoint=server.endpoint
        )
        storage = open_storage(settings)
        for name in ("frames", "labels"):
            target = getattr(storage.layout, name)(trained.task_id)
            shutil.copytree(getattr(stack.settings.layout, name)(trained.task_id), target)
            storage.keep(target)
        patch.setenv("ACTVERSE_ROOT", settings.root)
        patch.setenv("ACTVERSE_S3_ENDPOINT", settings.s3_endpoint)
        yield storage


@pytest.fixture
def variables(stack: RunningStack, store: Storage) -> dict[str, str]:
    """What the ConfigMap and the Secrets of a cluster would hold."""
    return {
        "ACTVERSE_SHAPE": "cluster",
        "ACTVERSE_WITHOUT_SECRETS": "true",
        "ACTVERSE_MLFLOW_URI": stack.addresses.mlflow,
        **stack.settings.tracking_environment(),
        "ACTVERSE_TRITON_URL": stack.settings.triton_url,
        "ACTVERSE_GATEWAY_URI": stack.addresses.gateway,
        "ACTVERSE_PIPELINE_SECRET": REPORT_SECRET,
    }


def test_the_pipeline_runs_with_what_a_pod_has(
    stack: RunningStack,
    store: Storage,
    trained: Trained,
    variables: dict[str, str],
    tmp_path: Path,
):
    yaml = compile_pipeline("training", tmp_path / "training.yaml", stack.settings)
    arguments = {
        **trained.request.arguments,
        "model_name": "pod-shapes",
        "training": TrainingSettings(**{**TRAINING, "epochs": 2}).model_dump_json(),
    }
    ran = run_in_pods(yaml, tmp_path / "root", arguments, variables)
    assert ran.returncode == 0, ran.stdout
    assert "The gateway was told that the run ended as SUCCEEDED." in ran.stdout
    assert served(stack, "pod-shapes")
    # What others are to have lies in the storage, brought there by the pods.
    model = store.layout.train_log(trained.task_id) / "model.pt"
    assert store.stat(store.key_of(model)) is not None
    reports = store.layout.step_reports(trained.task_id)
    kept = {Path(file.key).stem for file in store.files(store.key_of(reports))}
    assert kept >= set(TRAINING_STEPS)


def test_a_failure_in_pods_is_told_and_fails_the_run(
    stack: RunningStack, trained: Trained, variables: dict[str, str], tmp_path: Path
):
    # A pod that fails is repeated after a wait, whatever made it fail: not here.
    settings = stack.settings.model_copy(update={"pipeline_retries": 0})
    yaml = compile_pipeline("training", tmp_path / "training.yaml", settings)
    arguments = {**trained.request.arguments, "task_id": "nobodys-task"}
    ran = run_in_pods(yaml, tmp_path / "root", arguments, variables)
    assert ran.returncode != 0
    assert "nobodys-task" in ran.stdout
    assert "The run ended as FAILED: " in ran.stdout
    assert "The gateway was told that the run ended as FAILED." in ran.stdout
