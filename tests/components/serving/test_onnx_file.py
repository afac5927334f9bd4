"""What is refused before it is loaded anywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from components.errors import BadInput, NotFound
from components.serving.onnx_file import check_onnx, read_tensors
from tests.helpers.tiny_onnx import write_tiny_model

Model = onnx.ModelProto


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "model.onnx", task="pose")
    return tmp_path / "model.onnx"


def external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    tensor.ClearField("raw_data")


def foreign_operator(model: Model) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    node = helper.make_node("Evil", [model.graph.output[0].name], ["x"], domain="com.example")
    model.graph.node.append(node)


def external_weight(model: Model) -> None:
    external(model.graph.initializer[0])


def external_weight_in_a_branch(model: Model) -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "hidden")
    external(weight)
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=weight)],
        "branch",
        [],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["cond"], ["z"], then_branch=branch, else_branch=branch)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "cond"))
    model.graph.node.append(node)


def missing_edge(model: Model) -> None:
    model.graph.node[-1].input[0] = "nowhere"


def no_card(model: Model) -> None:
    del model.metadata_props[:]


def other_outputs(model: Model) -> None:
    del model.graph.output[-1]


def test_tiny_model_passes_and_its_tensors_are_read(path: Path):
    assert check_onnx(path).labels.task == "pose"
    inputs, outputs = read_tensors(path)
    assert [(one.name, one.kind, one.dims) for one in inputs] == [
        ("images", "TYPE_UINT8", (-1, -1, -1, 3)),
        ("confidence", "TYPE_FP32", (1,)),
        ("iou", "TYPE_FP32", (1,)),
    ]
    assert outputs[-1].name == "keypoints"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (foreign_operator, "com.example"),
        (external_weight, "outside of itself"),
        (external_weight_in_a_branch, "outside of itself"),
        (missing_edge, "not a valid model"),
        (no_card, "actverse.card"),
        (other_outputs, "contract"),
    ],
)
def test_unfit_file_is_refused_with_the_reason(
    path: Path, spoil: Callable[[Model], None], reason: str
):
    model = onnx.load(path)
    spoil(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=reason):
        check_onnx(path)


def test_truncated_and_missing_files_are_refused(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"whole ONNX file|valid model|actverse\.card"):
        check_onnx(path)
    path.unlink()
    with pytest.raises(NotFound, match="There is no"):
        check_onnx(path)
