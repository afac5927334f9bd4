"""Models that do not answer hold up no other one, fail in the end, and leave no process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from components.registry.aliases import set_champion
from components.registry.tags import ServingState, read_state
from components.serving import promote as promote_module
from components.serving import reconcile as reconcile_module
from components.serving.promote import Promoter
from components.serving.reconcile import Action, Reconciler
from components.serving.stubs import end_stubs
from components.settings import Settings
from tests.components.serving.test_backend_limits import ENDLESS, Served
from tests.helpers.exports import IMAGES, boxes_of
from tests.helpers.hammer import Hammer
from tests.helpers.hostile_onnx import endless_when_black, memory_bomb
from tests.helpers.servers import TritonServer, new_triton, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    server = new_triton(tmp_path_factory.mktemp("own_triton"), model_answer_seconds=1)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(
    own_triton: TritonServer, mlflow_server: str, request: pytest.FixtureRequest
) -> Settings:
    update = {"mlflow_uri": mlflow_server, "champion_alias": request.node.name.replace("_", "")}
    return own_triton.settings.model_copy(update=update)


@pytest.fixture
def reconciler(promoter: Promoter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reconciler]:
    monkeypatch.setattr(promote_module, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(reconcile_module, "_BACK_OFF_SECONDS", 0.0)
    reconciler = Reconciler(promoter)
    yield reconciler
    reconciler.close()


def point(settings: Settings, model: str, version: int) -> None:
    set_champion(model, version, settings.champion_alias, tracking_uri=settings.mlflow_uri)


def test_a_version_that_loops_on_a_look_fails_and_leaves_no_process(
    reconciler: Reconciler,
    settings: Settings,
    registered: Callable[..., int],
    own_triton: TritonServer,
    tmp_path: Path,
):
    """It passes its trial: it loops on a black frame only."""

    def spoil(export: Path) -> None:
        endless_when_black(export / "model.onnx", seed=1)

    looping, good = registered("a_looping", 1, spoil), registered("b_good", 2)
    point(settings, "a_looping", looping)
    point(settings, "b_good", good)
    uri = settings.mlflow_uri
    first = {one.model: one.action for one in reconciler.round()}
    assert first == {"a_looping": Action.PROMOTED, "b_good": Action.PROMOTED}
    slowest = 0.0
    deadline = time.monotonic() + 120
    while read_state("a_looping", looping, tracking_uri=uri).state is not ServingState.FAILED:
        assert time.monotonic() < deadline
        begun = time.monotonic()
        outcomes = {one.model: one.action for one in reconciler.round(patience=0.5)}
        slowest = max(slowest, time.monotonic() - begun)
        assert outcomes.get("b_good", Action.UNCHANGED) is Action.UNCHANGED
    assert slowest < 20, "a round waits for nobody"
    reason = read_state("a_looping", looping, tracking_uri=uri).reason
    assert "does not answer" in reason
    assert "3 times" in reason
    wait_until(lambda: not own_triton.stubs("a_looping"), what="the end of the process")
    assert not own_triton.stubs("_candidate*")
    while reconciler.running:  # its state is written before a round tells of it
        reconciler.round()
    last = {one.model: one.action for one in reconciler.round()}
    assert last == {"a_looping": Action.SKIPPED, "b_good": Action.UNCHANGED}
    assert Hammer(settings.triton_url, "b_good", IMAGES).once() == boxes_of(tmp_path / "export_2")


def test_a_slow_promotion_does_not_hold_up_another_model(
    reconciler: Reconciler,
    settings: Settings,
    registered: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
):
    slow, quick = registered("a_slow", 3), registered("b_quick", 4)
    point(settings, "a_slow", slow)
    go_on, real = threading.Event(), reconciler.promoter.probe

    def probe(model: str, *given: object) -> None:
        if "a_slow" in model:
            assert go_on.wait(60)
        real(model, *given)

    monkeypatch.setattr(reconciler.promoter, "probe", probe)
    assert reconciler.round(patience=0.1) == []
    point(settings, "b_quick", quick)
    done = {}
    while "b_quick" not in done:
        done |= {one.model: one.action for one in reconciler.round(patience=0.5)}
    assert done == {"b_quick": Action.PROMOTED}
    assert reconciler.running == {"a_slow"}
    go_on.set()
    assert {one.model: one.action for one in reconciler.round()}["a_slow"] is Action.PROMOTED


def test_a_version_that_fills_the_memory_is_not_promoted(
    reconciler: Reconciler,
    settings: Settings,
    registered: Callable[..., int],
    own_triton: TritonServer,
):
    bomb = registered("bomb", 5, lambda export: memory_bomb(export / "model.onnx", seed=5))
    point(settings, "bomb", bomb)
    (outcome,) = reconciler.round()
    assert outcome.action is Action.FAILED
    assert "memory" in outcome.reason
    wait_until(lambda: not own_triton.stubs("_candidate*"), what="the end of the process")


def test_a_process_that_computes_on_is_ended(own_triton: TritonServer):
    """One that Triton does not end, since its request is never answered."""
    served = Served(own_triton, "burning")
    served.put(ENDLESS, seconds=50)
    tensor = grpcclient.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.zeros(1, np.float32))
    with grpcclient.InferenceServerClient(own_triton.url) as client:
        client.load_model("burning")
        answered = threading.Event()
        client.async_infer("burning", [tensor], lambda result, error: answered.set())
        assert end_stubs(own_triton.url, "burn") == []
        assert end_stubs("127.0.0.1:1", "burning") == []
        stubs = served.stubs
        assert end_stubs(own_triton.url, "burning") == stubs
        assert answered.wait(30)
        client.unload_model("burning")
    wait_until(lambda: not served.stubs, what="the end of the process")
