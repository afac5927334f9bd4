"""What a served graph may take: time and memory, inside a real Triton."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import tritonclient.grpc as grpcclient
from onnx.parser import parse_model
from tritonclient.utils import InferenceServerException

from components.errors import StepFailed
from components.serving.control import TritonControl
from tests.helpers.servers import TritonServer, wait_until

pytestmark = pytest.mark.slow

# Loops for ever if what it is given is 0; it answers everything else with itself.
ENDLESS = """g (float[1] x) => (float[1] y) {
    nought = Constant <value = float[1] {0}> ()
    same = Equal (x, nought)
    on = Squeeze (same)
    trips = Constant <value = int64 {9223372036854775807}> ()
    y = Loop (trips, on, x) <body = body (int64 i, bool going, float[1] a)
        => (bool still, float[1] b) {
            still = Identity (going)
            step = Constant <value = float[1] {1}> ()
            b = Add (a, step)
        }>
}"""

# Makes as many numbers as it is given, squared.
BOMB = """g (float[1] x) => (float[1] y) {
    side = Cast <to = 7> (x)
    shape = Concat <axis = 0> (side, side)
    wide = Expand (x, shape)
    root = Sqrt (wide)
    mean = ReduceMean <keepdims = 0> (root)
    y = Add (x, mean)
}"""

# Compares as many boxes as it is given, each with each: one operator, which nothing interrupts.
ONE_KERNEL = """g (float[1] x) => (float[1] y) {
    count = Cast <to = 7> (x)
    one = Constant <value = int64[1] {1}> ()
    four = Constant <value = int64[1] {4}> ()
    boxes_shape = Concat <axis = 0> (one, count, four)
    scores_shape = Concat <axis = 0> (one, one, count)
    boxes = Expand (x, boxes_shape)
    scores = Expand (x, scores_shape)
    chosen = NonMaxSuppression (boxes, scores, count)
    number = Shape <start = 0, end = 1> (chosen)
    y = Cast <to = 1> (number)
}"""

CONFIG = """backend: "onnxruntime"
instance_group [{{ count: 1 kind: KIND_CPU }}]
input [{{ name: "x" data_type: TYPE_FP32 dims: [1] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [1] }}]
parameters {{ key: "actverse.answer_seconds" value {{ string_value: "{seconds}" }} }}
parameters {{ key: "actverse.memory_bytes" value {{ string_value: "{memory}" }} }}
"""
OPENVINO = (
    'optimization { execution_accelerators { cpu_execution_accelerator: [{ name: "openvino" }] } }'
)


@pytest.fixture
def control(triton: TritonServer) -> Iterator[TritonControl]:
    with TritonControl(triton.url) as control:
        yield control


class Served:
    """A graph that is served under limits."""

    def __init__(self, triton: TritonServer, name: str) -> None:
        self.triton, self.name = triton, name

    def put(self, graph: str, *, seconds: float = 1, memory: int = 2**30, more: str = "") -> None:
        path = self.triton.repository / self.name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}'), path)
        text = CONFIG.format(seconds=seconds, memory=memory)
        (path.parents[1] / "config.pbtxt").write_text(text + more)

    def ask(self, x: float) -> float:
        tensor = grpcclient.InferInput("x", [1], "FP32")
        tensor.set_data_from_numpy(np.array([x], np.float32))
        with grpcclient.InferenceServerClient(self.triton.url) as client:
            return float(client.infer(self.name, [tensor], client_timeout=50).as_numpy("y")[0])

    @property
    def stubs(self) -> list[int]:
        return self.triton.stubs(self.name)


@pytest.fixture
def served(triton: TritonServer, request: pytest.FixtureRequest) -> Served:
    return Served(triton, request.node.name.translate(str.maketrans("[]-", "___")))


def gone(pid: int) -> bool:
    """Whether a process has ended; Triton looks for the end of its own only when it unloads."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_an_endless_loop_is_ended_and_the_model_answers_on(served: Served, control: TritonControl):
    served.put(ENDLESS)
    control.load(served.name)
    before = served.stubs
    assert served.ask(7) == 7
    for _ in range(2):
        with pytest.raises(InferenceServerException, match="does not answer within 1 s"):
            served.ask(0)
        assert served.ask(5) == 5
    assert served.stubs == before
    control.unload(served.name)
    wait_until(lambda: not served.stubs, what="the end of the process")


def test_an_endless_loop_in_openvino_ends_with_its_process(served: Served, control: TritonControl):
    """It looks at nobody's wish to stop in the body of a loop."""
    served.put(ENDLESS, seconds=0.2, memory=4 * 2**30, more=OPENVINO)
    control.load(served.name)
    (stub,) = served.stubs
    assert served.ask(7) == 7
    with pytest.raises(InferenceServerException):
        served.ask(0)
    wait_until(lambda: gone(stub), what="the end of the process")
    control.unload(served.name)
    control.load(served.name)
    assert served.ask(7) == 7


def test_a_graph_that_asks_for_too_much_memory_gets_an_error(
    served: Served, control: TritonControl
):
    served.put(BOMB)
    control.load(served.name)
    assert served.ask(4) == 6
    with pytest.raises(InferenceServerException, match="allocate memory"):
        served.ask(40_000)
    assert served.ask(4) == 6
    (stub,) = served.stubs
    assert psutil.Process(stub).memory_info().rss < 2**30


def test_an_operator_that_nothing_ends_ends_with_its_process(
    served: Served, control: TritonControl
):
    served.put(ONE_KERNEL, seconds=3)
    control.load(served.name)
    assert served.ask(2) == 2
    (stub,) = served.stubs
    with pytest.raises(InferenceServerException, match="not healthy"):
        served.ask(1_000_000)
    wait_until(lambda: gone(stub), what="the end of the process")
    control.unload(served.name)
    control.load(served.name)
    assert served.ask(2) == 2


def test_a_graph_that_would_fill_the_memory_while_it_is_loaded_does_not(
    served: Served, control: TritonControl
):
    lines = ["shape = Constant <value = int64[2] {16000, 16000}> ()"]
    for number in range(3):
        lines.append(f"huge_{number} = ConstantOfShape <value = float[1] {{{number}}}> (shape)")
        lines.append(f"root_{number} = Sqrt (huge_{number})")
    lines.append("most = Max (root_0, root_1, root_2)")
    lines.append("mean = ReduceMean <keepdims = 0> (most)")
    lines.append("y = Add (x, mean)")
    served.put("g (float[1] x) => (float[1] y) { " + "\n".join(lines) + " }")
    with suppress(StepFailed):
        control.load(served.name)
    assert all(psutil.Process(stub).memory_info().rss < 2**30 for stub in served.stubs)
    with pytest.raises(InferenceServerException):
        served.ask(1)


def test_a_load_that_never_ends_is_given_up(served: Served, tmp_path: Path):
    """The backend's own limit; its file is changed for it, as nothing small loads for long."""
    from tests.helpers.servers import new_triton

    server = new_triton(tmp_path)
    model = tmp_path / "backends" / "onnxruntime" / "model.py"
    text = model.read_text()
    text = text.replace("LOAD_SECONDS = 90", "LOAD_SECONDS = 0.5")
    model.write_text(text.replace("        import onnxruntime\n", "        while True: pass\n", 1))
    slow = Served(server, "slow")
    slow.put(ENDLESS)
    server.start()
    try:
        with TritonControl(server.url) as control, pytest.raises(StepFailed):
            control.load("slow")
        wait_until(lambda: not slow.stubs, what="the end of the process")
    finally:
        server.stop()
