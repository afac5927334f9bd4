"""Asking for a version to be served, and waiting for those who see to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from components.errors import NotFound, PromotionFailed, Unavailable
from components.patience import Patience
from components.registry.aliases import read_champion, set_champion
from components.registry.tags import ServingState, write_state
from components.serving.deploy import deploy, keep_champion
from components.serving.promote import Promoter
from components.serving.reconcile import reconcile
from components.settings import Settings
from tests.helpers.exports import other_findings
from tests.helpers.relay import Relay
from tests.helpers.servers import TritonServer


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"champion_alias": request.node.name.replace("_", "")})


@contextmanager
def reconciling(settings: Settings) -> Iterator[None]:
    """The gateway's part, without the gateway."""
    stop = threading.Event()

    def run() -> None:
        promoter = Promoter(settings)
        while not stop.wait(0.1):
            reconcile(promoter)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def test_deployed_is_served_and_a_failure_gives_the_reason(
    settings: Settings, registered: Callable[..., int]
):
    good, bad = registered("wanted", 1), registered("wanted", 2, other_findings)
    states: list[str] = []
    with reconciling(settings):
        deploy(
            "wanted",
            good,
            settings=settings,
            timeout=60,
            progress=lambda done, total, **facts: states.append(facts["state"]),
        )
        with Promoter(settings).control() as control:
            assert control.ready_versions("wanted") == {good}
        with pytest.raises(PromotionFailed, match="parity frames"):
            deploy("wanted", bad, settings=settings, timeout=60)
    assert states[0] in ("requested", "validating")
    assert states[-1] == "ready"


def test_nobody_who_promotes_is_told_of(settings: Settings, registered: Callable[..., int]):
    version = registered("lonely", 1)
    with pytest.raises(PromotionFailed, match="requested: see that the gateway runs"):
        deploy("lonely", version, settings=settings, timeout=0.1)
    alias, uri = settings.champion_alias, settings.mlflow_uri
    assert read_champion("lonely", alias, tracking_uri=uri) == version


def test_alias_moved_on_ends_the_wait(settings: Settings, registered: Callable[..., int]):
    first, second = registered("moved", 1), registered("moved", 2)

    def move(done: float, total: float, **facts: object) -> None:
        set_champion("moved", second, settings.champion_alias, tracking_uri=settings.mlflow_uri)

    with pytest.raises(PromotionFailed, match=f"from version {first} to {second}"):
        deploy("moved", first, settings=settings, timeout=60, progress=move)


def test_unknown_version_is_not_found(settings: Settings):
    with pytest.raises(NotFound, match="version 3 of the model unheard"):
        deploy("unheard", 3, settings=settings, timeout=1)


def test_a_champion_that_is_kept_is_the_one_that_is_served(
    settings: Settings, registered: Callable[..., int]
):
    first, second, third = (registered("kept", seed) for seed in (1, 2, 3))
    alias, uri = settings.champion_alias, settings.mlflow_uri

    def mark(version: int, state: ServingState) -> None:
        write_state("kept", version, state, tracking_uri=uri)

    with pytest.raises(PromotionFailed, match=r"no other was served within 0\.1 s"):
        keep_champion("kept", settings=settings, timeout=0.1)
    mark(first, ServingState.READY)
    set_champion("kept", first, alias, tracking_uri=uri)
    assert keep_champion("kept", settings=settings, timeout=1) == first
    # Somebody chose another one in the meantime, and it is not fit.
    set_champion("kept", second, alias, tracking_uri=uri)
    mark(second, ServingState.FAILED)
    assert keep_champion("kept", settings=settings, timeout=1) == first
    assert read_champion("kept", alias, tracking_uri=uri) == second
    # One that is on its way is waited for.
    set_champion("kept", third, alias, tracking_uri=uri)
    timer = threading.Timer(0.3, mark, (third, ServingState.READY))
    timer.start()
    assert keep_champion("kept", settings=settings, timeout=30) == third
    timer.join()


@pytest.fixture
def relay(mlflow_server: str) -> Iterator[Relay]:
    """The line to MLflow, which a test can cut."""
    relay = Relay(int(mlflow_server.rpartition(":")[2]))
    relay.open()
    yield relay
    relay.close()


def test_a_registry_that_is_away_is_waited_for(
    settings: Settings, registered: Callable[..., int], relay: Relay
):
    version, told = registered("patient", 1), []
    far = settings.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{relay.port}"})

    def tell(sentence: str) -> None:
        told.append(sentence)
        if sentence:
            relay.open()

    def cut(done: float, total: float, **facts: object) -> None:
        if not told:
            relay.close()

    relay.close()
    with reconciling(settings):
        deploy("patient", version, settings=far, timeout=60, patience=Patience(60, tell))
        assert [bool(sentence) for sentence in told] == [True, False]
        told.clear()
        relay.close()
        kept = keep_champion("patient", settings=far, timeout=60, patience=Patience(60, tell))
        assert (kept, [bool(sentence) for sentence in told]) == (version, [True, False])
        told.clear()
        deploy(
            "patient",
            version,
            settings=far,
            timeout=60,
            progress=cut,
            patience=Patience(60, tell),
        )


def test_an_alias_that_somebody_has_moved_meanwhile_is_left_to_them(
    settings: Settings, registered: Callable[..., int], monkeypatch: pytest.MonkeyPatch
):
    """The answer of the registry was lost; before it is asked again, somebody decides."""
    first, second = registered("decided", 1), registered("decided", 2)
    uri, alias = settings.mlflow_uri, settings.champion_alias
    real = set_champion

    def lost(model: str, version: int, alias: str, *, tracking_uri: str) -> None:
        real(model, version, alias, tracking_uri=tracking_uri)
        real(model, second, alias, tracking_uri=tracking_uri)
        raise Unavailable("MLflow does not answer.")

    monkeypatch.setattr("components.serving.deploy.set_champion", lost)
    with pytest.raises(PromotionFailed, match=f"from version {first} to {second}"):
        deploy("decided", first, settings=settings, timeout=60, patience=Patience(60))
    assert read_champion("decided", alias, tracking_uri=uri) == second


def test_the_time_without_triton_does_not_count(
    settings: Settings, registered: Callable[..., int], triton: TritonServer
):
    version = registered("late", 1)
    relay = Relay(int(triton.url.rpartition(":")[2]))
    far = settings.model_copy(update={"triton_url": f"127.0.0.1:{relay.port}"})
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        if sentence:
            relay.open()
            Promoter(settings).promote("late", version)

    try:
        # Not even a tenth of a second is left when Triton is back.
        deploy("late", version, settings=far, timeout=0.1, patience=Patience(60, tell))
    finally:
        relay.close()
    assert "Triton at" in told[0]
    assert told[-1] == ""
