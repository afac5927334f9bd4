"""Triton's repository in an S3 store: a real Triton that reads it, promoters that write it."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from types import SimpleNamespace

import httpx
import pytest

from components.errors import PromotionFailed, Unavailable
from components.parity_set import ParitySet
from components.registry.aliases import set_champion
from components.registry.tags import ServingState, read_state, write_state
from components.serving.client import TritonModel
from components.serving.promote import Promoter
from components.serving.reconcile import Action, reconcile
from components.serving.server import triton_ready
from components.serving.status import served_models
from components.settings import Settings
from components.storage import Storage, open_storage
from tests.helpers.exports import IMAGES, boxes_of, other_findings
from tests.helpers.hammer import Hammer
from tests.helpers.relay import Relay
from tests.helpers.s3_server import CREDENTIALS, S3Server
from tests.helpers.servers import TritonServer, new_triton, wait_until

pytestmark = pytest.mark.slow

KEY = "a key of the tests, long enough to keep out"


@pytest.fixture(scope="module")
def s3_triton(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """One that starts over a bucket that was empty, and asks for a key."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        server = new_triton(
            tmp_path_factory.mktemp("s3_triton"),
            root=f"s3://{s3_server.new_bucket()}/lab",
            s3_endpoint=s3_server.endpoint,
            triton_control_key=KEY,
            http=True,
        )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(
    s3_triton: TritonServer, s3: S3Server, mlflow_server: str, request: pytest.FixtureRequest
) -> Settings:
    # An alias of its own for each test: the registry is the whole session's.
    update = {"mlflow_uri": mlflow_server, "champion_alias": request.node.name.replace("_", "")}
    return s3_triton.settings.model_copy(update=update)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


def stored(storage: Storage, model: str) -> set[str]:
    """The names in a model's folder, and in those of its candidates."""
    keys = [file.key.split("/") for file in storage.files("models")]
    mine = (model, f"_candidate.{model}")
    return {"/".join(key[1:3]) for key in keys if key[1].startswith(mine)}


def answered_by(settings: Settings, model: str, export: Path) -> bool:
    return Hammer(settings.triton_url, model, IMAGES).once() == boxes_of(export)


def elsewhere(settings: Settings, folder: Path, **update: object) -> Promoter:
    """A promoter on another machine, whose working copy is empty."""
    # Not ``model_copy``: that would keep the layout.
    given = settings.model_dump(exclude_unset=True) | {"home": folder, **update}
    return Promoter(Settings(**given))


def point(settings: Settings, model: str, version: int) -> None:
    set_champion(model, version, settings.champion_alias, tracking_uri=settings.mlflow_uri)


def test_promotions_and_rollback_by_s3_lose_no_request(
    promoter: Promoter,
    settings: Settings,
    storage: Storage,
    registered: Callable[..., int],
    tmp_path: Path,
    s3_triton: TritonServer,
):
    first, second = registered("bucket", 1), registered("bucket", 2)
    promoter.promote("bucket", first)
    assert stored(storage, "bucket") == {"bucket/1", "bucket/config.pbtxt"}
    with Hammer(settings.triton_url, "bucket", IMAGES) as anyone:
        promoter.promote("bucket", second)
        assert answered_by(settings, "bucket", tmp_path / "export_2")
        assert stored(storage, "bucket") == {"bucket/1", "bucket/2", "bucket/config.pbtxt"}
        promoter.promote("bucket", first)
        assert answered_by(settings, "bucket", tmp_path / "export_1")
        # What is retired would cost Triton a download at each load.
        assert stored(storage, "bucket") == {"bucket/1", "bucket/config.pbtxt"}
    assert anyone.failures == []
    assert set(anyone.answers) == {boxes_of(tmp_path / f"export_{v}") for v in (1, 2)}
    wait_until(lambda: not s3_triton.stubs("_candidate.*"))


def test_failed_promotions_leave_service_and_store_as_they_were(
    promoter: Promoter,
    settings: Settings,
    storage: Storage,
    registered: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = registered("sound", 1), registered("sound", 2)
    bad = registered("sound", 3, other_findings)
    real = promoter.probe

    def fails_once_switched(model: str, version: int, parity_set: ParitySet) -> None:
        if model == "sound":
            raise PromotionFailed("the probe was made to fail")
        real(model, version, parity_set)

    def fails(version: int, reason: str) -> None:
        with monkeypatch.context() as patch, pytest.raises(PromotionFailed, match=reason):
            patch.setattr(promoter, "probe", fails_once_switched)
            promoter.promote("sound", version)

    fails(first, "made to fail")
    assert stored(storage, "sound") == set()
    assert promoter.control().ready_versions("sound") == set()
    promoter.promote("sound", first)
    before = {file.key: file.checksum for file in storage.files("models/sound")}
    for version, reason in [(second, "made to fail"), (bad, "parity frames")]:
        fails(version, reason)
        assert stored(storage, "sound") == {"sound/1", "sound/config.pbtxt"}
        assert {file.key: file.checksum for file in storage.files("models/sound")} == before
        assert promoter.control().ready_versions("sound") == {first}
        assert answered_by(settings, "sound", tmp_path / "export_1")


def test_promoter_on_another_machine_takes_over(
    promoter: Promoter,
    settings: Settings,
    storage: Storage,
    registered: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = registered("moved", 1), registered("moved", 2)
    point(settings, "moved", first)
    reconcile(promoter)
    # As after a restart of Triton.
    promoter.control().unload("moved")
    other = elsewhere(settings, tmp_path / "other")
    with monkeypatch.context() as patch:
        # What the store holds is enough to serve again.
        patch.setattr("components.serving.promote.download_version", None)
        (outcome,) = reconcile(other)
    assert outcome.action is Action.RELOADED
    assert answered_by(settings, "moved", tmp_path / "export_1")
    other.promote("moved", second)
    assert other.control().ready_versions("moved") == {first, second}
    assert stored(storage, "moved") == {"moved/1", "moved/2", "moved/config.pbtxt"}
    # The first machine's copy knows nothing of the second version.
    assert promoter.repository.served_versions("moved") == {first, second}


def test_store_that_is_away_is_waited_for(
    settings: Settings, storage: Storage, registered: Callable[..., int], tmp_path: Path
):
    first, second = registered("patient", 1), registered("patient", 2)
    relay = Relay(int(settings.s3_endpoint.rpartition(":")[2]))
    relay.open()
    promoter = elsewhere(
        settings, tmp_path / "behind", s3_endpoint=f"http://127.0.0.1:{relay.port}"
    )
    point(settings, "patient", first)
    reconcile(promoter)
    point(settings, "patient", second)
    relay.close()
    try:
        with pytest.raises(Unavailable, match=r"does not answer.*ACTVERSE_S3_ENDPOINT"):
            reconcile(promoter)
        assert answered_by(settings, "patient", tmp_path / "export_1")
        seen = read_state("patient", second, tracking_uri=settings.mlflow_uri)
        assert seen.state is ServingState.REQUESTED
        relay.open()
        (outcome,) = reconcile(promoter)
    finally:
        relay.close()
    assert outcome.action is Action.PROMOTED
    assert answered_by(settings, "patient", tmp_path / "export_2")
    assert stored(storage, "patient") == {"patient/1", "patient/2", "patient/config.pbtxt"}


def test_triton_that_reads_another_place_is_no_fault_of_the_version(
    settings: Settings, registered: Callable[..., int], tmp_path: Path
):
    version = registered("astray", 1)
    promoter = elsewhere(settings, tmp_path / "astray", root=settings.root + "-other")
    with pytest.raises(Unavailable, match=r"does not find the model .* in its repository"):
        promoter.promote("astray", version)
    seen = read_state("astray", version, tracking_uri=settings.mlflow_uri)
    assert seen.state is ServingState.REQUESTED
    assert stored(open_storage(promoter.settings), "astray") == set()


def test_two_promoters_of_one_version_agree(
    promoter: Promoter,
    settings: Settings,
    storage: Storage,
    registered: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = registered("double", 1), registered("double", 2)
    promoter.promote("double", first)
    # As ``deploy`` does: two that write a tag for the first time can be too much for MLflow.
    uri = settings.mlflow_uri
    write_state("double", second, ServingState.REQUESTED, tracking_uri=uri)
    other = elsewhere(settings, tmp_path / "second_home")
    # Each in a process of its own, as it would be: the lock is one process's.
    monkeypatch.setattr("components.serving.promote._one_at_a_time", lambda _: _NoLock())
    both = threading.Barrier(2)
    ended: list[object] = []

    def promote(one: Promoter) -> None:
        both.wait(30)
        ended.append(one.promote("double", second))

    threads = [threading.Thread(target=promote, args=(one,)) for one in (promoter, other)]
    with Hammer(settings.triton_url, "double", IMAGES) as anyone:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(ended) == 2
    assert anyone.failures == []
    assert answered_by(settings, "double", tmp_path / "export_2")
    assert stored(storage, "double") == {"double/1", "double/2", "double/config.pbtxt"}
    seen = read_state("double", second, tracking_uri=settings.mlflow_uri)
    assert seen.state is ServingState.READY


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_promoter_that_is_overtaken_leaves_the_others_work(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = registered("raced", 1), registered("raced", 2)
    promoter.promote("raced", first)
    other = elsewhere(settings, tmp_path / "faster").repository
    theirs = f"{other.config_text('raced')}# by another\n"
    real = promoter.probe

    def overtaken(model: str, version: int, parity_set: ParitySet) -> None:
        if model == "raced":
            # Triton tells what an S3 store holds from what it held by whole seconds.
            second_of = int(time())
            wait_until(lambda: int(time()) > second_of, what="the next second")
            other.put_config("raced", theirs)
            promoter.control().load("raced")
        real(model, version, parity_set)

    monkeypatch.setattr(promoter, "probe", overtaken)
    with pytest.raises(Unavailable, match="Another promoter"):
        promoter.promote("raced", second)
    assert other.config_text("raced") == theirs
    assert promoter.control().ready_versions("raced") == {first}
    seen = read_state("raced", second, tracking_uri=settings.mlflow_uri)
    assert seen.state is ServingState.REQUESTED


def test_trial_that_a_killed_promoter_left_is_cleared_away(
    promoter: Promoter,
    storage: Storage,
    registered: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
):
    left, longer = "_candidate.orphan.0123abcd", "_candidate.orphan.x.0123abcd"
    for name in (left, longer):
        storage.write(f"models/{name}/config.pbtxt", [b"name: 'x'"], max_bytes=99)
    # What is new may be the trial of another that is under way.
    repository = promoter.repository
    assert repository.abandoned_candidates("orphan", 60) == []
    # Its clock alone: others send their time to servers.
    later = SimpleNamespace(time=lambda: time() + 3600)
    monkeypatch.setattr("components.serving.repository.time", later)
    promoter.promote("orphan", registered("orphan", 1))
    # The other is one of a model orphan.x.
    assert stored(storage, "orphan") == {
        "orphan/1",
        "orphan/config.pbtxt",
        f"{longer}/config.pbtxt",
    }


def test_repository_is_prepared_for_a_triton_that_waits_for_it(settings: Settings, tmp_path: Path):
    # Triton ends itself over a prefix without objects.
    away = {"root": f"{settings.root}-new", "triton_url": "127.0.0.1:9"}
    promoter = elsewhere(settings, tmp_path / "first", **away)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
            reconcile(promoter)
        keys = [file.key for file in open_storage(promoter.settings).files("")]
        assert keys == ["models/README.txt"]


def test_control_needs_the_key_and_asking_none(
    s3_triton: TritonServer,
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    tmp_path: Path,
):
    version = registered("locked", 1)
    promoter.promote("locked", version)
    for wrong in ("", "another key, as long as the right one is"):
        keyless = elsewhere(settings, tmp_path / f"home_{len(wrong)}", triton_control_key=wrong)
        with pytest.raises(Unavailable, match="ACTVERSE_TRITON_CONTROL_KEY"):
            keyless.control().load("locked")
        with pytest.raises(Unavailable, match="ACTVERSE_TRITON_CONTROL_KEY"):
            keyless.control().unload("locked")
        # What serving, showing and probing need is open to all.
        assert [m.version for m in served_models(keyless.settings) if m.model == "locked"] == [1]
        assert triton_ready(settings.triton_url)
        with TritonModel(settings.triton_url, "locked", 1, shared_memory=True) as model:
            (slot,) = model.slots(1, (1, 96, 96))
            assert not slot.shared
            slot.images(*IMAGES.shape[:3])[:] = IMAGES
            found = slot.submit(confidence=0.25, iou=0.7).result()
        assert found["boxes"].tobytes() == boxes_of(tmp_path / "export_1")
    web = f"http://127.0.0.1:{s3_triton.http_port}/v2"
    unload = f"{web}/repository/models/locked/unload"
    assert httpx.post(unload).status_code == 403
    assert httpx.get(f"{web}/models/locked/config").json()["name"] == "locked"
    # Not whether it is ready: a version that another test failed to load keeps it from that.
    assert httpx.get(f"{web}/health/live").is_success
    assert KEY not in json.dumps(settings.environment(secrets=False))
