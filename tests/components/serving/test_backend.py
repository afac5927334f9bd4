"""The backend ``onnxruntime`` inside a real Triton."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as grpcclient
from onnx.parser import parse_model
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from components.errors import StepFailed
from components.serving.control import TritonControl
from tests.helpers.servers import TritonServer, new_triton

_TYPES = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float16": np.float16,
    "float": np.float32,
    "double": np.float64,
    "string": np.object_,
}


@pytest.fixture
def control(triton: TritonServer) -> Iterator[TritonControl]:
    with TritonControl(triton.url) as control:
        yield control


@pytest.fixture
def client(triton: TritonServer) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(triton.url) as client:
        yield client


def put(server: TritonServer, name: str, graph: str, config: str) -> Path:
    """A model of ONNX's textual form in the server's repository; its path."""
    path = server.repository / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}'), path)
    (path.parents[1] / "config.pbtxt").write_text(
        f'backend: "onnxruntime"\ninstance_group [{{ count: 1 kind: KIND_CPU }}]\n{config}'
    )
    return path


def tensor(field: str, name: str, kind: str, dims: str = "-1") -> str:
    return f'{field} [{{ name: "{name}" data_type: TYPE_{kind} dims: [{dims}] }}]\n'


def sent(name: str, array: np.ndarray) -> grpcclient.InferInput:
    one = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    one.set_data_from_numpy(array)
    return one


def threads_of(stub: int) -> int:
    return len(list(Path(f"/proc/{stub}/task").iterdir()))


# Picks from a table by index; an index outside of it is a fault of that request alone.
PICK = "pick (int64[n] index) => (float[n] picked, int64[n] same) "
PICK += "{ table = Constant <value = float[3] {1, 2, 3}> () "
PICK += "picked = Gather (table, index) same = Identity (index) }"
PICK_CONFIG = (
    tensor("input", "index", "INT64")
    + tensor("output", "picked", "FP32")
    + tensor("output", "same", "INT64")
)

# Enough work to tell threads and runtimes apart by their results.
MATMUL = "mm (float[n, 64] x) => (float[n, 64] y) { xt = Transpose (x) g = MatMul (xt, x) "
MATMUL += "y = MatMul (x, g) }"
MATMUL_CONFIG = tensor("input", "x", "FP32", "-1, 64") + tensor("output", "y", "FP32", "-1, 64")


def test_every_type_comes_through_bit_by_bit(
    triton: TritonServer, control: TritonControl, client: grpcclient.InferenceServerClient
):
    names = {kind: np_to_triton_dtype(np.dtype(dtype)) for kind, dtype in _TYPES.items()}
    config = "".join(
        tensor("input", f"in_{kind}", name.replace("BYTES", "STRING"), "-1, -1")
        + tensor("output", f"out_{kind}", name.replace("BYTES", "STRING"), "-1, -1")
        for kind, name in names.items()
    )
    inputs = ", ".join(f"{kind}[n_{kind}, m_{kind}] in_{kind}" for kind in _TYPES)
    outputs = ", ".join(f"{kind}[n_{kind}, m_{kind}] out_{kind}" for kind in _TYPES)
    body = " ".join(f"out_{kind} = Identity (in_{kind})" for kind in _TYPES)
    put(triton, "types", f"types ({inputs}) => ({outputs}) {{ {body} }}", config)
    control.load("types")
    rng = np.random.default_rng(0)
    for shape in [(7, 5), (0, 4), (300, 200)]:
        arrays = {}
        for kind, dtype in _TYPES.items():
            count = int(np.prod(shape))
            if kind == "string":
                texts = [f"é{number}".encode() for number in range(count)]
                arrays[kind] = np.array(texts, np.object_).reshape(shape)
            elif kind == "bool":
                arrays[kind] = rng.random(shape) < 0.5
            else:
                raw = rng.bytes(count * np.dtype(dtype).itemsize)
                arrays[kind] = np.frombuffer(raw, dtype).reshape(shape)
        answer = client.infer("types", [sent(f"in_{k}", array) for k, array in arrays.items()])
        for kind, array in arrays.items():
            got = answer.as_numpy(f"out_{kind}")
            assert (got.shape, got.dtype) == (array.shape, array.dtype), kind
            same = (got == array).all() if kind == "string" else got.tobytes() == array.tobytes()
            assert same, (kind, shape)


def test_fault_of_one_request_is_its_own_answer_only(
    triton: TritonServer, control: TritonControl, client: grpcclient.InferenceServerClient
):
    put(triton, "pick", PICK, PICK_CONFIG)
    control.load("pick")
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        client.infer("pick", [sent("index", np.array([7]))])
    answer = client.infer("pick", [sent("index", np.array([2, 0]))])
    assert answer.as_numpy("picked").tolist() == [3, 1]


def test_only_requested_outputs_are_sent(
    triton: TritonServer, control: TritonControl, client: grpcclient.InferenceServerClient
):
    put(triton, "some", PICK, PICK_CONFIG)
    control.load("some")
    answer = client.infer(
        "some",
        [sent("index", np.array([1]))],
        outputs=[grpcclient.InferRequestedOutput("same")],
    )
    assert [output.name for output in answer.get_response().outputs] == ["same"]


def test_instances_and_threads_are_those_of_the_config(
    triton: TritonServer, control: TritonControl
):
    def parameter(count: int) -> str:
        return (
            f'parameters {{ key: "intra_op_thread_count" value: {{ string_value: "{count}" }} }}\n'
        )

    put(triton, "one_thread", MATMUL, MATMUL_CONFIG + parameter(1))
    path = put(triton, "two_stubs", MATMUL, MATMUL_CONFIG + parameter(4))
    config = path.parents[1] / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))
    control.load("one_thread")
    control.load("two_stubs")
    (single,) = triton.stubs("one_thread")
    pair = triton.stubs("two_stubs")
    assert len(pair) == 2
    # The caller's own thread is the first of a session's.
    assert [threads_of(stub) - threads_of(single) for stub in pair] == [3, 3]


def test_unfit_configs_are_refused_with_the_reason(triton: TritonServer, control: TritonControl):
    path = put(triton, "gpu_only", MATMUL, MATMUL_CONFIG)
    config = path.parents[1] / "config.pbtxt"
    accelerator = (
        'optimization { execution_accelerators { cpu_execution_accelerator: [{ name: "x" }] } }'
    )
    config.write_text(config.read_text() + accelerator)
    with pytest.raises(StepFailed, match="accelerator 'x' is unknown"):
        control.load("gpu_only")


def test_openvino_serves_the_same_file_nearly_the_same(
    triton: TritonServer, control: TritonControl, client: grpcclient.InferenceServerClient
):
    def asked(precision: str) -> str:
        parameter = f'parameters {{ key: "precision" value: "{precision}" }}'
        accelerators = f'cpu_execution_accelerator: [{{ name: "openvino" {parameter} }}]'
        return f"optimization {{ execution_accelerators {{ {accelerators} }} }}"

    path = put(triton, "by_openvino", MATMUL, MATMUL_CONFIG + asked("FP32"))
    control.load("by_openvino")
    x = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)
    (exact,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})
    answer = client.infer("by_openvino", [sent("x", x)]).as_numpy("y")
    np.testing.assert_allclose(answer, exact, rtol=1e-4, atol=1e-3)
    (stub,) = triton.stubs("by_openvino")
    libraries = Path(f"/proc/{stub}/maps").read_text()
    assert "openvino_intel_cpu_plugin" in libraries
    assert "libonnxruntime" not in libraries

    put(triton, "no_such_precision", MATMUL, MATMUL_CONFIG + asked("FP12"))
    with pytest.raises(StepFailed, match="no precision 'FP12'"):
        control.load("no_such_precision")


def test_config_without_tensors_is_completed(tmp_path: Path):
    server = new_triton(tmp_path, drop="--disable-auto-complete-config")
    put(server, "bare", PICK, "")
    server.start()
    try:
        with TritonControl(server.url) as control:
            control.load("bare")
            config = control.config("bare", 1)
        with grpcclient.InferenceServerClient(server.url) as client:
            answer = client.infer("bare", [sent("index", np.array([1]))])
    finally:
        server.stop()
    assert [(one["name"], one["data_type"]) for one in config["output"]] == [
        ("picked", "TYPE_FP32"),
        ("same", "TYPE_INT64"),
    ]
    assert answer.as_numpy("picked").tolist() == [2]
