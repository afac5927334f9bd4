"""S3 as the storage: two machines that share no folder, and a store that goes away."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from components.layout import Layout
from components.settings import Settings
from components.storage import open_storage
from components.working_copies import WorkingCopies
from gateway.app import create_app
from gateway.database import open_database, upgrade_database
from gateway.flows import TRAINING, Queue
from gateway.keys import create_key
from gateway.leases import claim_step
from gateway.models import Attempt
from gateway.runner import Outcome, StepRunner
from gateway.steps import FUNCTIONS
from gateway.tasks import create_task
from gateway.work import Work
from tests.gateway.workers.conftest import MODEL
from tests.helpers.relay import Relay
from tests.helpers.s3_server import CREDENTIALS, S3Server, running_s3
from tests.helpers.servers import TritonServer, wait_until
from tests.helpers.tasks import set_step
from tests.helpers.workers import Workers, new_workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def machines(
    tmp_path: Path,
    rabbitmq_url: str,
    redis_url: str,
    store: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Workers, Workers]]:
    """One that has the queue of videos and errands, one that has all other queues."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def machine(name: str, *queues: Queue) -> Workers:
        settings = Settings(
            home=tmp_path / name,
            root=f"s3://{bucket}/lab",
            s3_endpoint=store.endpoint,
            database_url=f"sqlite:///{tmp_path / 'shared.db'}",
            broker_url=rabbitmq_url,
            redis_url=redis_url,
            api_key_secret="keys-secret",
            labeling_poll_seconds=0.5,
            labeling_poll_max_seconds=1,
            labeling_settle_seconds=0.5,
            log_format="text",
        )
        return new_workers(settings, queues=queues)

    bucket = store.new_bucket()
    both = (
        machine("one", Queue.VIDEO, Queue.NOTIFICATION),
        machine("two", Queue.LABELING, Queue.INFERENCE),
    )
    try:
        yield both
    finally:
        for workers in both:
            workers.kill()


def test_a_task_goes_from_machine_to_machine(
    machines: tuple[Workers, Workers], served: TritonServer, clip: Path
):
    one, two = machines
    two.settings.triton_url = served.url
    two.settings.global_model = MODEL
    storage = open_storage(one.settings)
    storage.write("users/ada/clip.mp4", [clip.read_bytes()], max_bytes=10**7)
    one.start()
    two.start()

    loop = one.submit("loop", Work(file_path="clip.mp4", num_frames=3, names=("red", "green")))
    one.wait_for(loop, "waiting")
    project = one.facts(loop, "labeling")["project"]
    images = [f.key for f in storage.files(f"users/ada/{project}/images")]
    assert len(images) == 3
    assert one.facts(loop, "preannotate")["objects"] > 0
    for image in images:
        name = Path(image).stem
        storage.write(
            f"users/ada/{project}/labels/{name}.txt", [b"0 0.5 0.5 0.2 0.2"], max_bytes=99
        )
    wait_until(lambda: one.facts(loop, "labels").get("counts"), 30)
    assert one.facts(loop, "labels")["counts"]["objects"] == 3

    analysis = one.submit("inference", Work(file_path="clip.mp4", model_name=MODEL))
    one.wait_for(analysis)
    # Each has seen only what it needed.
    assert (copy_at(one.settings, analysis).video(analysis) / "source.mp4").exists()
    assert not (copy_at(two.settings, analysis).video(analysis) / "source.mp4").exists()
    assert not copy_at(one.settings, analysis).results(analysis).exists()
    keys = {f.key for f in storage.files(f"inference_results/{analysis}")}
    assert {Path(key).name for key in keys} == {
        "metadata.json",
        "overlaid_results.mp4",
        "report.ipynb",
        "result_chunk_0.json",
        "results.csv",
        "results.json",
    }

    with open_database(one.settings.database_url).begin() as session:
        key = create_key(session, one.settings, "ada")
    with TestClient(create_app(one.settings), headers={"X-API-Key": key}) as client:
        listed = client.get(f"/tasks/{analysis}/results").raise_for_status().json()
    links = {file["path"]: file["link"] for file in listed["files"]}
    answer = httpx.get(links["results.json"], trust_env=False).raise_for_status()
    assert len(json.loads(answer.content)["results"]) == 24


def test_a_step_waits_for_a_store_that_goes_away(
    tmp_path: Path, store: S3Server, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    relay = Relay(int(store.endpoint.rpartition(":")[2]))
    relay.open()
    settings = Settings(
        home=tmp_path / "home",
        root=f"s3://{store.new_bucket()}/lab",
        s3_endpoint=f"http://127.0.0.1:{relay.port}",
        log_format="text",
    )
    workers = new_workers(settings)
    storage = open_storage(settings)
    storage.write("users/ada/clip.mp4", [clip.read_bytes()], max_bytes=10**7)
    try:
        workers.start()
        relay.close()
        task_id = workers.submit("upload", Work(file_path="clip.mp4", upload_path="b.mp4"))
        wait_until(lambda: "retried" in outcomes(workers, task_id), 60, "the first attempt")
        relay.open()
        workers.wait_for(task_id)
        assert b"".join(storage.read("users/ada/b.mp4")) == clip.read_bytes()
        assert outcomes(workers, task_id)[-2:] == ["succeeded", "succeeded"]
    finally:
        workers.kill()
        relay.close()


def test_a_machine_keeps_no_more_videos_than_it_works_on(
    tmp_path: Path, store: S3Server, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    settings = Settings(
        home=tmp_path, root=f"s3://{store.new_bucket()}/lab", s3_endpoint=store.endpoint
    )
    upgrade_database(settings.database_url)
    sessions = open_database(settings.database_url)
    storage = open_storage(settings)
    storage.write("users/ada/clip.mp4", [clip.read_bytes()], max_bytes=10**7)
    runner = StepRunner(settings, sessions, storage)
    runner.copies = WorkingCopies(storage, settings.home / "tasks", idle_bytes=0)

    def run(task_id: str, name: str) -> None:
        with sessions.begin() as session:
            step = claim_step(session, task_id, name, "w1", timedelta(seconds=30))
        assert step is not None
        assert runner.run(step, "w1", FUNCTIONS[name]).outcome is Outcome.SUCCEEDED

    def local_videos() -> list[str]:
        return [path.parent.name for path in tmp_path.rglob("videos/*/source.mp4")]

    with sessions.begin() as session:
        work = Work(file_path="clip.mp4", upload_path="b.mp4")
        tasks = [create_task(session, "ada", "upload", work).id for _ in range(3)]
    for task_id in tasks:
        run(task_id, "download")
        assert local_videos() == [task_id]
    # What made room is brought again.
    run(tasks[0], "deliver_video")
    assert local_videos() == [tasks[0]]
    # What a training on this machine leaves behind goes with its end.
    training = storage.layout.train_log(tasks[0]) / "model.pt"
    training.parent.mkdir(parents=True)
    training.write_bytes(b"weights")
    with sessions.begin() as session:
        loop = create_task(session, "ada", "training", Work(labels_path="labels")).id
    set_step(sessions, loop, "labels", state="succeeded")
    storage.layout.train_log(loop).mkdir(parents=True)
    with sessions.begin() as session:
        step = claim_step(session, loop, TRAINING, "w1", timedelta(seconds=30))
    assert step is not None
    runner.run(step, "w1", lambda context: {})
    assert not storage.layout.train_log(loop).exists()
    assert training.exists()


def copy_at(settings: Settings, task_id: str) -> Layout:
    """A task's working copy on a machine."""
    return Layout(settings.home / "tasks" / task_id)


def outcomes(workers: Workers, task_id: str) -> list[str]:
    with workers.sessions() as session:
        query = select(Attempt.outcome).where(Attempt.task_id == task_id).order_by(Attempt.id)
        return list(session.scalars(query))
