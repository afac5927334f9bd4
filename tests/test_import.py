"""A model that was trained elsewhere labels everybody's frames: through the running stack."""

from pathlib import Path

import cv2
import pytest
from mlflow import MlflowClient

from actverse.client import Client
from components.errors import Forbidden
from components.video.writer import Mp4Writer
from tests.helpers.checkpoints import held_out_frame, write_checkpoint
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames with a red and a green blob each."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with Mp4Writer(path, wh=(192, 144), fps=25, crf=12) as writer:
        for index in range(12):
            writer.write(draw_frame((192, 144), seed=index // 4)[0])
    return path


def facts(client: Client, task_id: str, step: str) -> dict:
    return next(s["facts"] for s in client.status(task_id)["steps"] if s["name"] == step)


def test_an_imported_model_labels_the_frames_of_every_task(stack, clip: Path, tmp_path: Path):
    client = stack.client
    write_tiny_model(tmp_path / "blobs.onnx", task="detect", seed=4)
    # Proven on the video itself.
    task_id = client.import_model(tmp_path / "blobs.onnx", "global", clip)
    status = client.wait(task_id)
    assert status["state"] == "succeeded", status["error"]
    brought = facts(client, task_id, "bring")
    assert ("global", brought["version"]) in [(m["model"], m["version"]) for m in client.models()]

    key = client.create_key("ina")["key"]
    with Client(client.gateway, key) as ina:
        assert "global" in [model["model"] for model in ina.models()]
        with pytest.raises(Forbidden, match="administrator"):
            ina.import_model(tmp_path / "blobs.onnx", "global", clip)
        labelled = ina.create_task(clip, names=["red", "mouse"], num_frames=3)
        assert ina.wait(labelled, until={"waiting"})["state"] == "waiting"
        told = facts(ina, labelled, "preannotate")
        assert told["model"] == "global"
        assert (told["images"], told["objects"]) == (3, 3)
        assert told["left_out"] == {"green": 3}
        # Now there are frames of ina's own, so that no images need be named.
        mine = ina.wait(ina.import_model(tmp_path / "blobs.onnx", "ina-blobs"))
        assert mine["state"] == "succeeded", mine["error"]
        ina.cancel(labelled)


def test_a_checkpoint_goes_the_same_way(stack, tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), held_out_frame(901 + number, (160, 120)))
    model_pt = write_checkpoint(tmp_path / "mice.pt", "yolo11n")
    status = stack.client.wait(stack.client.import_model(model_pt, "shared-mice", images))
    assert status["state"] == "succeeded", status["error"]
    version = MlflowClient(stack.addresses.mlflow).get_model_version_by_alias(
        "shared-mice", "champion"
    )
    assert version.tags["serving.state"] == "ready"
    assert version.tags["origin.file"] == "mice.pt"
    (tmp_path / "text.pt").write_bytes(b"no checkpoint")
    refused = stack.client.wait(
        stack.client.import_model(tmp_path / "text.pt", "shared-mice", images)
    )
    assert refused["state"] == "failed"
    assert refused["error"].startswith("text.pt cannot be loaded as a trained model")
