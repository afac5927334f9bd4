"""Versions on their way into service: real registry, real Triton, clients that keep asking."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from components.errors import NotFound, PromotionFailed, Unavailable
from components.parity_set import ParitySet
from components.registry.tags import ServingState, read_state, write_state
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.promote import Promoter
from components.settings import Settings
from tests.helpers.exports import IMAGES, boxes_of, other_findings
from tests.helpers.hammer import Hammer
from tests.helpers.servers import TritonServer, wait_until

pytestmark = pytest.mark.slow


def state(settings: Settings, model: str, version: int) -> str:
    seen = read_state(model, version, tracking_uri=settings.mlflow_uri).state
    return "" if seen is None else seen.value


def test_promotions_and_rollback_under_load_lose_no_request(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    tmp_path: Path,
    triton: TritonServer,
):
    name = "loaded"
    first, second = registered(name, 1), registered(name, 2)
    mine = {v: boxes_of(tmp_path / f"export_{v}") for v in (first, second)}
    assert mine[first] != mine[second]
    assert promoter.promote(name, first).previous is None

    with (
        Hammer(settings.triton_url, name, IMAGES) as anyone,
        Hammer(settings.triton_url, name, IMAGES, version=str(first)) as pinned,
    ):

        def served_after(promoted: int) -> list[bytes]:
            """The answers to requests sent when the promotion was over."""
            promoter.promote(name, promoted)
            done = len(anyone.answers) + 1  # one may have been under way
            wait_until(lambda: len(anyone.answers) > done + 3 or anyone.failures)
            return anyone.answers[done:]

        assert set(served_after(second)) == {mine[second]}
        assert promoter.control().ready_versions(name) == {first, second}
        assert set(served_after(first)) == {mine[first]}
        assert set(served_after(second)) == {mine[second]}

    assert anyone.failures == []
    assert pinned.failures == []
    assert set(pinned.answers) == {mine[first]}
    assert len(pinned.answers) > 20
    # Nobody was ever answered by anything but one of the two.
    assert set(anyone.answers) == set(mine.values())
    assert state(settings, name, second) == "ready"
    assert state(settings, name, first) == "retired"
    wait_until(lambda: not triton.stubs("_candidate.*"))
    assert not list(settings.layout.models().glob("_candidate*"))
    assert not list(settings.layout.models().parent.glob(".promotion-*"))


def test_served_and_answering_version_is_not_loaded_again(
    promoter: Promoter, settings: Settings, registered: Callable[..., int], triton: TritonServer
):
    version = registered("again", 1)
    assert promoter.promote("again", version).changed
    stubs = triton.stubs("again")
    uri = settings.mlflow_uri
    write_state("again", version, ServingState.REQUESTED, tracking_uri=uri)
    assert not promoter.promote("again", version).changed
    assert state(settings, "again", version) == "ready"
    assert triton.stubs("again") == stubs


def foreign_operator(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    (export / "model.onnx").write_bytes(model.SerializeToString())


def weights_outside(export: Path) -> None:
    model = onnx.load(export / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx.data")
    tensor.ClearField("raw_data")
    (export / "model.onnx").write_bytes(model.SerializeToString())


def fault_at_run_time(export: Path) -> None:
    """A valid graph that no input gets through: it reshapes to a size that cannot be."""
    model = onnx.load(export / "model.onnx")
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = "inner_scores" if name == "scores" else name
    shape = helper.make_tensor("bad_shape", onnx.TensorProto.INT64, [2], [7919, 7919])
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", ["inner_scores", "bad_shape"], ["scores"]))
    (export / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("foreign", foreign_operator, "com.example"),
        ("outside", weights_outside, "outside of itself"),
        ("wrong", other_findings, "3 px"),
        ("faulty", fault_at_run_time, "reshape"),
    ],
)
def test_unfit_version_leaves_the_old_one_serving_and_says_why(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    tmp_path: Path,
    name: str,
    spoil: Callable[[Path], None],
    reason: str,
):
    good = registered(name, 1)
    promoter.promote(name, good)
    before = promoter.repository.config_text(name)
    bad = registered(name, 2, spoil)
    with Hammer(settings.triton_url, name, IMAGES) as anyone:
        with pytest.raises(PromotionFailed, match=reason) as failed:
            promoter.promote(name, bad)
        seen = len(anyone.answers)
        wait_until(lambda: len(anyone.answers) > seen + 2 or anyone.failures)
    assert anyone.failures == []
    assert set(anyone.answers) == {boxes_of(tmp_path / "export_1")}
    tagged = read_state(name, bad, tracking_uri=settings.mlflow_uri)
    assert tagged.state is ServingState.FAILED
    assert tagged.reason == str(failed.value)
    assert state(settings, name, good) == "ready"
    assert promoter.repository.config_text(name) == before
    with TritonControl(settings.triton_url) as control:
        ready = control.served()
    assert not [model for model in ready if model.startswith("_candidate")]


def test_fault_after_the_switch_puts_the_old_one_back(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    first, second = registered("undone", 1), registered("undone", 2)
    promoter.promote("undone", first)
    real = promoter.probe

    def fails_once_switched(model: str, version: int, parity_set: ParitySet) -> None:
        real(model, version, parity_set)
        if model == "undone":
            raise PromotionFailed("the probe was made to fail")

    monkeypatch.setattr(promoter, "probe", fails_once_switched)
    with pytest.raises(PromotionFailed, match="made to fail"):
        promoter.promote("undone", second)
    with TritonControl(settings.triton_url) as control:
        assert control.ready_versions("undone") == {first}
    hammer = Hammer(settings.triton_url, "undone", IMAGES)
    assert hammer.once() == boxes_of(tmp_path / "export_1")
    assert state(settings, "undone", second) == "failed"


def test_version_of_another_task_is_served_alone(
    promoter: Promoter, settings: Settings, registered: Callable[..., int]
):
    boxes, points = registered("retrained", 1), registered("retrained", 2, task="pose")
    promoter.promote("retrained", boxes)
    promoter.promote("retrained", points)
    with TritonControl(settings.triton_url) as control:
        assert control.ready_versions("retrained") == {points}
    with TritonModel(settings.triton_url, "retrained", points, shared_memory=False) as model:
        assert model.card.labels.task == "pose"
        assert "keypoints" in model.infer(IMAGES, confidence=0.25, iou=0.7)


def test_openvino_serves_within_its_tolerance(
    settings: Settings, registered: Callable[..., int], triton: TritonServer
):
    faster = settings.model_copy(update={"triton_accelerator": "openvino"})
    version = registered("vino", 1, task="pose")
    Promoter(faster).promote("vino", version)
    (stub,) = triton.stubs("vino")
    assert "openvino_intel_cpu_plugin" in Path(f"/proc/{stub}/maps").read_text()


def test_a_gpu_is_asked_for_where_the_settings_say_so(
    settings: Settings, registered: Callable[..., int]
):
    on_gpu = settings.model_copy(update={"triton_device": "gpu"})
    version = registered("swift", 1)
    # The Triton here has none, and says so.
    with pytest.raises(PromotionFailed, match=r"(?i)gpu"):
        Promoter(on_gpu).promote("swift", version)


def test_triton_away_leaves_the_version_requested(
    settings: Settings, registered: Callable[..., int]
):
    version = registered("patient", 1)
    uri = settings.mlflow_uri
    write_state("patient", version, ServingState.REQUESTED, tracking_uri=uri)
    away = settings.model_copy(update={"triton_url": "127.0.0.1:9"})
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        Promoter(away).promote("patient", version)
    assert state(settings, "patient", version) == "requested"


def test_version_that_is_not_registered_is_not_found(promoter: Promoter):
    with pytest.raises(NotFound, match="version 7 of the model nobody"):
        promoter.promote("nobody", 7)
