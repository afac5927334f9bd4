import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.errors import BadInput
from components.export.graft import graft
from components.labels import LabelSpec
from components.onnx_model import OnnxModel
from components.served_model import CARD_KEY, ModelCard, model_inputs
from components.ultralytics_env import prepare
from tests.helpers.tiny_onnx import SPECS, draw_frame, plain_tiny_model


def card_of(classes: int, points: int = 0) -> ModelCard:
    labels = LabelSpec(
        task="pose" if points else "detect",
        names=tuple(f"class_{i}" for i in range(classes)),
        keypoints=tuple(f"point_{i}" for i in range(points)),
    )
    return ModelCard(labels=labels, imgsz=64)


def random_head(seed: int, batch: int, classes: int, points: int, anchors: int) -> np.ndarray:
    """A raw head of crowds: every box has neighbours that overlap it more or less."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform(20, 600, (batch, 2, max(anchors // 8, 1)))
    centres = spots[:, :, rng.integers(0, spots.shape[2], anchors)]
    centres = centres + rng.normal(0, 4, (batch, 2, anchors))
    sizes = rng.uniform(20, 40, (batch, 2, anchors))
    scores = rng.uniform(0, 1, (batch, classes, anchors)) ** 2
    keypoints = rng.uniform(-50, 700, (batch, 3 * points, anchors))
    return np.concatenate([centres, sizes, scores, keypoints], axis=1).astype(np.float32)


def plain_of(head: np.ndarray, **shapes) -> onnx.ModelProto:
    """A plain export that answers every picture with ``head``."""
    inputs = shapes.get("inputs", ["batch", 3, "height", "width"])
    outputs = shapes.get("outputs", ["batch", head.shape[1], "anchors"])
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "last_axes"], ["zeros"]),
        helper.make_node("Add", ["head", "zeros"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, outputs)],
        [
            numpy_helper.from_array(head, "head"),
            numpy_helper.from_array(np.array([1, 2]), "last_axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'a'}"})
    return model


def run(model: onnx.ModelProto, images, confidence, iou) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = model_inputs(images, confidence=confidence, iou=iou)
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("points", [0, 4])
@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize(
    ("anchors", "confidence", "iou"),
    [(40, 0.25, 0.7), (1000, 0.25, 0.45), (4000, 0.001, 0.7), (1000, 0.999, 0.7), (500, 0.0, 1.0)],
)
def test_the_answer_is_that_of_ultralytics_own_suppression(
    points, classes, anchors, confidence, iou
):
    prepare()
    import torch
    from ultralytics.utils.nms import non_max_suppression

    head = random_head(anchors + classes, 2, classes, points, anchors)
    model = graft(plain_of(head), card_of(classes, points))
    images = np.zeros((2, 64, 96, 3), np.uint8)
    found = run(model, images, confidence, iou)
    expected = non_max_suppression(
        torch.tensor(head), confidence, iou, max_det=300, nc=classes, max_time_img=60
    )
    for frame, rows in enumerate(expected):
        rows = rows.numpy()
        n = len(rows)
        assert np.count_nonzero(found["scores"][frame]) == n
        np.testing.assert_array_equal(found["scores"][frame, :n], rows[:, 4])
        np.testing.assert_allclose(found["boxes"][frame, :n], rows[:, :4], atol=1e-3)
        np.testing.assert_array_equal(found["classes"][frame, :n], rows[:, 5])
        if points:
            np.testing.assert_array_equal(
                found["keypoints"][frame, :n], rows[:, 6:].reshape(n, points, 3)
            )
        assert not any(tensor[frame, n:].any() for tensor in found.values())


@pytest.mark.parametrize("task", ["detect", "pose"])
@pytest.mark.parametrize("shape", [(1, 96, 96), (3, 64, 160), (5, 320, 32)])
def test_any_batch_height_and_width_come_out_as_the_contract_says(task, shape):
    batch, height, width = shape
    card = ModelCard(labels=SPECS[task], imgsz=96)
    model = graft(plain_tiny_model(task=task), card)
    images = np.stack([draw_frame((width, height), seed=i)[0] for i in range(batch)])
    found = run(model, images, 0.25, 0.7)
    rows = min(300, (height // 8) * (width // 8))
    expected = {"boxes": (np.float32, (4,)), "scores": (np.float32, ()), "classes": (np.int32, ())}
    if task == "pose":
        expected["keypoints"] = (np.float32, (2, 3))
    assert list(found) == list(expected) == list(card.outputs)
    for name, (dtype, rest) in expected.items():
        assert found[name].dtype == dtype
        assert found[name].shape == (batch, rows, *rest)
    assert (np.diff(found["scores"], axis=1) <= 0).all()


def test_each_frame_of_a_batch_has_its_own_findings():
    model = graft(plain_tiny_model(), ModelCard(labels=SPECS["detect"], imgsz=96))
    images = np.stack([draw_frame((96, 96), seed=i, blobs=i % 3)[0] for i in range(6)])
    together = run(model, images, 0.25, 0.7)
    assert np.count_nonzero(together["scores"], axis=1).tolist() == [0, 1, 2, 0, 1, 2]
    for i, image in enumerate(images):
        alone = run(model, image[None], 0.25, 0.7)
        for name, tensor in alone.items():
            np.testing.assert_allclose(together[name][i], tensor[0], atol=1e-4)


def test_the_picture_reaches_the_network_as_rgb_from_0_to_1():
    """A model whose head is the mean of each plane shows what went in."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["planes"]),
        helper.make_node("Concat", ["box", "planes"], ["output0"], axis=1),
    ]
    box = np.array([50, 50, 20, 20], np.float32).reshape(1, 4, 1)
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 7, 1])],
        [numpy_helper.from_array(np.array([2]), "last"), numpy_helper.from_array(box, "box")],
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = graft(plain, card_of(3))
    blue_green_red = np.zeros((1, 32, 32, 3), np.uint8) + np.array([51, 102, 204], np.uint8)
    found = run(model, blue_green_red, 0.1, 0.7)
    assert found["classes"][0, 0] == 0  # red is the first of RGB
    np.testing.assert_allclose(found["scores"][0, 0], 204 / 255, rtol=1e-6)


def test_the_file_stands_alone_and_says_what_it_is(tmp_path):
    card = ModelCard(labels=SPECS["pose"], imgsz=96)
    plain = plain_tiny_model(task="pose")
    helper.set_model_props(plain, {"stride": "32", "names": "{0: 'red', 1: 'green'}"})
    before = plain.SerializeToString()
    model = graft(plain, card)
    assert plain.SerializeToString() == before
    assert {node.domain for node in model.graph.node} == {""}
    assert {opset.domain for opset in model.opset_import} == {""}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    onnx.save(model, tmp_path / "model.onnx")
    served = OnnxModel(tmp_path / "model.onnx")
    assert served.card == card
    assert served.metadata["names"] == "{0: 'red', 1: 'green'}"
    assert set(served.metadata) == {"stride", "names", CARD_KEY}


@pytest.mark.parametrize(
    ("classes", "shapes", "message"),
    [
        (3, {}, "3 classes and 0 key points"),
        (2, {"outputs": ["batch", 300, 6]}, "not end-to-end"),
        (2, {"inputs": ["batch", 3, 64, 64]}, "dynamic=True"),
        (2, {"inputs": [1, 3, "height", "width"]}, "dynamic=True"),
    ],
)
def test_an_export_of_another_kind_is_refused(classes, shapes, message):
    plain = plain_of(random_head(0, 1, 2, 0, 10), **shapes)
    with pytest.raises(BadInput, match=message):
        graft(plain, card_of(classes))


def test_operators_that_are_not_onnx_own_are_refused():
    plain = plain_of(random_head(0, 1, 2, 0, 10))
    plain.graph.node[0].domain = "com.example"
    with pytest.raises(BadInput, match="not ONNX's own"):
        graft(plain, card_of(2))
