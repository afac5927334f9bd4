from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from components.detections import Tolerance
from components.errors import BadInput
from components.export.parity import HeldOutFrame, check_parity, held_out_frames, spread
from tests.helpers.checkpoints import IMGSZ, held_out_frame


def constant(graph: onnx.GraphProto, output: str) -> onnx.TensorProto:
    """The value of one of the graft's own constants."""
    (node,) = [node for node in graph.node if output in node.output]
    return node.attribute[0].t


def set_constant(graph, output, values):
    tensor = constant(graph, output)
    array = np.asarray(values, numpy_helper.to_array(tensor).dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def set_weights(graph, index, change):
    """Alter the weights of the graph's ``index``-th convolution."""
    convs = [node for node in graph.node if node.op_type == "Conv"]
    (tensor,) = [t for t in graph.initializer if t.name == convs[index].input[1]]
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def drop_one_kernel(weights):
    weights[0] = 0
    return weights


def swap_channels(graph):
    set_constant(graph, "rgb_order", [0, 1, 2])


def wrong_scale(graph):
    set_constant(graph, "white", 256.0)


def drop_first_kernel(graph):
    set_weights(graph, 0, drop_one_kernel)


def drop_inner_kernel(graph):
    set_weights(graph, 20, drop_one_kernel)


def weights_in_half_the_bits(graph):
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
            array = numpy_helper.to_array(tensor)
            step = np.abs(array).max() / 127
            rounded = np.round(array / step) * step
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))


def corners_for_centres(graph):
    set_constant(graph, "half", 1.0)


def classes_on_one_heap(graph):
    set_constant(graph, "offset_px", 0.0)


def few_findings(graph):
    set_constant(graph, "most", [3])


def key_points_off_by_one(graph):
    """Each key point's place gets the next value of the row."""
    (gather,) = [node for node in graph.node if "best_points" in node.output]
    kept = gather.output[0]
    gather.output[0] = "unrolled"
    order = onnx.helper.make_tensor("order_values", onnx.TensorProto.INT64, [6], [1, 2, 3, 4, 5, 0])
    place = list(graph.node).index(gather)
    graph.node.insert(place + 1, onnx.helper.make_node("Constant", [], ["order"], value=order))
    roll = onnx.helper.make_node("Gather", ["unrolled", "order"], [kept], axis=1)
    graph.node.insert(place + 2, roll)


CORRUPTIONS = [
    ("detect", swap_channels),
    ("detect", wrong_scale),
    ("detect", drop_first_kernel),
    ("pose", drop_inner_kernel),
    ("detect", weights_in_half_the_bits),
    ("detect", corners_for_centres),
    ("detect", classes_on_one_heap),
    ("detect", few_findings),
    ("pose", key_points_off_by_one),
]


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_an_export_that_is_as_it_should_be_passes_with_findings_in_every_size(exported, task):
    report = exported[task].report
    assert report.passed
    assert report.basis == "findings"
    assert report.confidence == 0.25
    assert report.matched >= 50
    assert report.box_error < 0.05
    assert report.score_error < 0.001
    assert report.keypoint_error < 0.05
    sizes_with_findings = {(one.width, one.height) for one in report.per_frame if one.matched}
    assert len(sizes_with_findings) >= 5


@pytest.mark.parametrize(
    ("task", "corruption"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_corrupted_export_is_caught_and_the_fault_names_a_frame(
    trained, exported, datasets, altered_copy, task, corruption
):
    report = check_parity(
        trained[task],
        altered_copy(exported[task].model, corruption),
        held_out_frames(datasets[task]),
        confidence=0.25,
        iou=0.7,
    )
    assert not report.passed
    assert ".png" in report.fault
    assert "failed" in report.markdown()


def test_a_fault_that_shows_only_in_batches_is_caught(trained, exported, datasets, altered_copy):
    def only_the_first_frame_of_a_batch(graph):
        (node,) = [node for node in graph.node if "kept_at" in node.output]
        node.output[0] = "whole_address"
        place = list(graph.node).index(node)
        mask = onnx.helper.make_tensor("mask_values", onnx.TensorProto.INT64, [2], [0, 1])
        graph.node.insert(place + 1, onnx.helper.make_node("Constant", [], ["mask"], value=mask))
        mul = onnx.helper.make_node("Mul", ["whole_address", "mask"], ["kept_at"])
        graph.node.insert(place + 2, mul)

    report = check_parity(
        trained["detect"],
        altered_copy(exported["detect"].model, only_the_first_frame_of_a_batch),
        held_out_frames(datasets["detect"]),
        confidence=0.25,
        iou=0.7,
    )
    assert report.unmatched == 0
    assert report.batch_unmatched > 0
    assert not report.passed
    assert "batches" in report.fault


@pytest.mark.parametrize(("best", "used"), [(0.17, 0.1), (0.075, 0.05), (0.03, 0.01)])
def test_the_confidence_is_lowered_until_there_is_something_to_compare(shy, tmp_path, best, used):
    trained, model = shy
    frames = []
    for number in range(300):
        image = held_out_frame(number, (IMGSZ, IMGSZ))
        found = trained.detect(image, confidence=0.001, iou=0.7)
        if used * 1.2 < found.scores.max(initial=0) < best * 1.3:
            frames.append(HeldOutFrame(tmp_path / f"{number}.png"))
            cv2.imwrite(str(frames[-1].path), image)
        if len(frames) == 2:
            break
    report = check_parity(trained, model, frames, confidence=0.25, iou=0.7)
    assert report.passed
    assert report.confidence == used
    assert report.matched >= 2
    assert "confidence 0.25" in report.note
    assert f"{used:g} was taken" in report.note
    assert report.tolerance_score == pytest.approx(0.01 * used / 0.25)


@pytest.mark.parametrize("corruption", [None, wrong_scale, drop_inner_kernel])
def test_models_that_find_nothing_are_held_against_each_other_by_their_raw_numbers(
    blind, datasets, altered_copy, corruption
):
    trained, model = blind
    frames = held_out_frames(datasets["detect"])[:3]
    model = altered_copy(model, corruption) if corruption else model
    report = check_parity(trained, model, frames, confidence=0.25, iou=0.7)
    assert report.basis == "raw head"
    assert report.matched == 0
    assert "learnt too little" in report.note
    assert report.passed is (corruption is None)
    assert bool(report.fault) is (corruption is not None)


def test_the_tolerance_decides(trained, exported, datasets):
    report = check_parity(
        trained["detect"],
        exported["detect"].model,
        held_out_frames(datasets["detect"]),
        confidence=0.25,
        iou=0.7,
        tolerance=Tolerance(box_px=1e-6),
    )
    assert "1e-06 px are allowed" in report.fault


def test_frames_are_spread_over_the_held_out_block_with_two_halves(datasets):
    frames = held_out_frames(datasets["detect"], at_most=3)
    names = [frame.name for frame in frames]
    assert names[:3] == ["frame_000000.png", "frame_000002.png", "frame_000005.png"]
    assert names[3:] == ["frame_000000.png, left half", "frame_000005.png, left half"]
    whole = frames[0].read()
    np.testing.assert_array_equal(frames[3].read(), whole[:, : whole.shape[1] // 2])


def test_spread_takes_all_where_there_are_few():
    assert spread([1, 2], 5) == [1, 2]
    assert spread(list(range(10)), 1) == [0]


def test_no_or_broken_held_out_images_are_said_so(tmp_path):
    with pytest.raises(BadInput, match="no images in images/val"):
        held_out_frames(tmp_path)
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"broken\.png"):
        replace(HeldOutFrame(path), half=True).read()
