"""Frames on their way through a real Triton and back, by connection and by shared memory."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.errors import NotFound, StepFailed, Unavailable
from components.letterbox import Letterbox
from components.onnx_model import OnnxModel
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from components.serving.status import served_models
from tests.helpers.exports import CONFIDENCE, IOU, SOURCE_WH, frames, write_export
from tests.helpers.servers import TritonServer, wait_until

THRESHOLDS = {"confidence": CONFIDENCE, "iou": IOU}


@pytest.fixture(scope="module")
def local(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """The model that Triton serves as ``sent`` 3, in this process."""
    export = write_export(tmp_path_factory.mktemp("export"), task="pose")
    repository = ModelRepository(triton.settings)
    files = {"onnx": export / "model.onnx", "parity_set": export / "parity_set"}
    repository.write_version("sent", 3, **files)
    repository.write_config("sent", {3})
    with TritonControl(triton.url) as control:
        control.load("sent")
    return OnnxModel(export / "model.onnx", threads=1)


@pytest.fixture
def remote(triton: TritonServer, local: OnnxModel) -> Iterator[TritonModel]:
    with TritonModel(triton.url, "sent", 3, shared_memory=True) as model:
        yield model


def batch(count: int, *, seed: int = 0) -> np.ndarray:
    letterbox = Letterbox.of(SOURCE_WH, 96)
    return np.stack([letterbox.apply(frame) for frame in frames(count, seed=seed)])


def shared_blocks() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"actverse-{os.getpid()}-*")]


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


def test_answers_equal_onnx_runtime_bit_by_bit(remote: TritonModel, local: OnnxModel):
    seen = set()
    slots = remote.slots(1, (2, 96, 96))
    for seed in range(0, 8, 2):
        images = batch(2, seed=seed)
        expected = local.infer(images, **THRESHOLDS)
        assert np.count_nonzero(expected["scores"]) > 0
        assert_same(remote.infer(images, **THRESHOLDS), expected)
        slots[0].images(*images.shape[:3])[:] = images
        assert_same(slots[0].submit(**THRESHOLDS).result(), expected)
        seen.add(expected["boxes"].tobytes())
    assert len(seen) == 4, "the frames make no difference: the comparison proves nothing"


def test_slots_are_answered_each_with_its_own_batch(remote: TritonModel, local: OnnxModel):
    slots = remote.slots(3, (4, 96, 96))
    assert all(slot.shared for slot in slots)
    # Smaller than the room, and of different shapes.
    batches = [batch(count, seed=count) for count in (4, 1, 2)]
    futures = []
    for slot, images in zip(slots, batches, strict=True):
        slot.images(*images.shape[:3])[:] = images
        futures.append(slot.submit(**THRESHOLDS))
    for future, images in zip(futures, batches, strict=True):
        assert_same(future.result(), local.infer(images, **THRESHOLDS))
    with pytest.raises(ValueError, match="reshape"):
        slots[0].images(5, 96, 96)


def test_card_is_learnt_from_the_server(remote: TritonModel, local: OnnxModel):
    assert remote.card == local.card


def test_shared_memory_is_given_back_also_after_an_error(triton: TritonServer, local: OnnxModel):
    def breaks_off() -> None:
        with _model(triton) as model:
            (slot,) = model.slots(1, (1, 96, 96))
            slot.images(1, 64, 96)
            slot.submit(**THRESHOLDS)
            assert len(shared_blocks()) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks_off()
    assert shared_blocks() == []
    with TritonControl(triton.url) as control:
        # Triton lets go of a region when the request that used it is wholly done.
        wait_until(lambda: control.shared_regions() == [])


@pytest.mark.parametrize("reason", ["not asked for", "refused by Triton", "elsewhere"])
def test_without_shared_memory_frames_go_over_the_connection(
    triton: TritonServer, local: OnnxModel, reason: str, monkeypatch: pytest.MonkeyPatch
):
    if reason == "refused by Triton":
        # As from another host: Triton finds no such block.
        monkeypatch.setattr("components.serving.shared_memory.SHARED_MEMORY", triton.repository)
    if reason == "elsewhere":
        monkeypatch.setattr("components.serving.client.on_this_host", lambda url: False)
        # It is not even tried.
        monkeypatch.setattr("components.serving.client.SharedBlock", None)
    with _model(triton, shared_memory=reason != "not asked for") as model:
        slots = model.slots(2, (2, 96, 96))
        assert not any(slot.shared for slot in slots)
        images = batch(2)
        slots[1].images(*images.shape[:3])[:] = images
        assert_same(slots[1].submit(**THRESHOLDS).result(), local.infer(images, **THRESHOLDS))
    assert not list(triton.repository.glob("actverse-*"))


def test_what_is_not_served_is_not_found(triton: TritonServer, local: OnnxModel):
    for name, version in [("sent", 4), ("nobody", 1)]:
        with _model(triton, name, version) as model:
            with pytest.raises(NotFound, match=f"version {version} of the model {name}"):
                _ = model.card
            with pytest.raises(NotFound, match=f"version {version} of the model {name}"):
                model.infer(batch(1), **THRESHOLDS)


def test_request_that_the_model_cannot_take_fails_alone(remote: TritonModel, local: OnnxModel):
    with pytest.raises(StepFailed, match="unexpected shape"):
        remote.infer(batch(1)[..., :2], **THRESHOLDS)
    assert_same(remote.infer(batch(1), **THRESHOLDS), local.infer(batch(1), **THRESHOLDS))


def test_server_that_is_away_or_too_slow_is_unavailable():
    with (
        TritonModel("127.0.0.1:9", "sent", 3, shared_memory=True) as model,
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 did not answer"),
    ):
        model.infer(batch(1), **THRESHOLDS)
    # A port that takes the connection and says nothing. Not Triton itself: 2.51 may crash
    # when a request's deadline runs out.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            TritonModel(url, "sent", 3, shared_memory=False, timeout=0.2) as model,
            pytest.raises(Unavailable, match="did not answer"),
        ):
            model.infer(batch(1), **THRESHOLDS)


def test_what_is_served_can_be_listed(triton: TritonServer, local: OnnxModel):
    served = {one.model: one for one in served_models(triton.settings)}
    assert (served["sent"].version, served["sent"].versions) == (3, (3,))
    assert served["sent"].card == local.card


def _model(
    triton: TritonServer, name: str = "sent", version: int = 3, *, shared_memory: bool = True
) -> TritonModel:
    return TritonModel(triton.url, name, version, shared_memory=shared_memory)
