import numpy as np
import onnx
import pytest

from components.errors import BadInput, NotFound
from components.onnx_model import OnnxModel
from components.served_model import CARD_KEY
from tests.helpers.tiny_onnx import SPECS, draw_frame, plain_tiny_model, write_tiny_model


@pytest.mark.parametrize("task", ["detect", "pose"])
@pytest.mark.parametrize("source_wh", [(96, 96), (320, 180), (200, 300)])
def test_it_finds_what_was_drawn_in_source_pixels(tmp_path, task, source_wh):
    write_tiny_model(tmp_path / "model.onnx", task=task)
    frame, blobs = draw_frame(source_wh, seed=4, blobs=3)
    (found,) = OnnxModel(tmp_path / "model.onnx").detect([frame])
    assert len(found) == len(blobs)
    for blob in blobs:
        apart = np.abs(found.xyxy - blob.xyxy).max(axis=1)
        nearest = apart.argmin()
        assert apart[nearest] < 0.08 * max(source_wh)
        assert found.class_ids[nearest] == blob.class_id
        if task == "pose":
            x1, _, x2, _ = blob.xyxy
            ends = found.keypoints[nearest, :, 0]
            np.testing.assert_allclose(ends, [x1, x2], atol=0.08 * max(source_wh))


def test_thresholds_are_taken_from_the_call(tmp_path):
    write_tiny_model(tmp_path / "model.onnx")
    model = OnnxModel(tmp_path / "model.onnx")
    frame, _ = draw_frame((96, 96), seed=1)
    everything = model.infer(frame[None], confidence=0.001, iou=1.0)
    few = model.infer(frame[None], confidence=0.9, iou=0.3)
    assert np.count_nonzero(everything["scores"]) > np.count_nonzero(few["scores"])
    assert (few["scores"][few["scores"] > 0] > 0.9).all()


def test_another_seed_answers_otherwise(tmp_path):
    frame, _ = draw_frame((96, 96), seed=1)
    answers = []
    for seed in (0, 1):
        write_tiny_model(tmp_path / f"{seed}.onnx", seed=seed)
        answers.append(OnnxModel(tmp_path / f"{seed}.onnx").detect([frame])[0])
    assert np.abs(answers[0].xyxy[0] - answers[1].xyxy[0]).max() > 0.1


def test_what_cannot_be_run_is_said_so(tmp_path):
    with pytest.raises(NotFound, match="no ONNX file"):
        OnnxModel(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(BadInput, match=r"cannot load .*text\.onnx"):
        OnnxModel(tmp_path / "text.onnx")
    model = plain_tiny_model()
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "unknown.onnx")
    with pytest.raises(BadInput, match=r"cannot load .*unknown\.onnx"):
        OnnxModel(tmp_path / "unknown.onnx")


def test_a_file_without_a_card_is_refused(tmp_path):
    onnx.save(plain_tiny_model(), tmp_path / "plain.onnx")
    with pytest.raises(BadInput, match=CARD_KEY):
        OnnxModel(tmp_path / "plain.onnx")


def test_the_card_says_what_was_written(tmp_path):
    card = write_tiny_model(tmp_path / "model.onnx", task="pose", imgsz=128)
    assert OnnxModel(tmp_path / "model.onnx").card == card
    assert card.labels == SPECS["pose"]
    assert card.imgsz == 128
