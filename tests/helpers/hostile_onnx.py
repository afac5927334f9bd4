"""ONNX files that keep the served model's contract, and do harm besides.

Each is the tiny model of ``tiny_onnx`` with a part put in front of its scores: whatever that
computes is multiplied with nought and added, so that no optimiser leaves it out.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.parser import parse_function, parse_graph

from tests.helpers.tiny_onnx import write_tiny_model

# Loops for as long as "on" holds, and counts.
_LOOP = """
    trips = Constant <value = int64 {9223372036854775807}> ()
    start = Constant <value = float {0}> ()
    harm = Loop (trips, on, start) <body = body (int64 i, bool going, float count)
        => (bool still, float more) {
            still = Identity (going)
            step = Constant <value = float {1}> ()
            more = Add (count, step)
        }>
"""
_ALWAYS = "on = Constant <value = bool {1}> ()" + _LOOP

# A frame of nothing but black, as no video shows one, and the reconciler's small look.
_WHEN_BLACK = (
    """
    pixels = Cast <to = 6> (images)
    brightest = ReduceMax <keepdims = 0> (pixels)
    dark = Constant <value = int32 {1}> ()
    on = Less (brightest, dark)
"""
    + _LOOP
)

_BOMB = """
    shape = Constant <value = int64[2] {SIDE, SIDE}> ()
    pixels = Cast <to = 1> (images)
    one_pixel = ReduceMax <keepdims = 0> (pixels)
    huge = Expand (one_pixel, shape)
    root = Sqrt (huge)
    harm = ReduceMean <keepdims = 0> (root)
"""

# One operator, which nothing interrupts: it compares a million boxes, each with each.
_ONE_KERNEL = """
    boxes_shape = Constant <value = int64[3] {1, 1000000, 4}> ()
    scores_shape = Constant <value = int64[3] {1, 1, 1000000}> ()
    all = Constant <value = int64[1] {1000000}> ()
    pixels = Cast <to = 1> (images)
    one_pixel = ReduceMax <keepdims = 0> (pixels)
    boxes = Expand (one_pixel, boxes_shape)
    scores_of = Expand (one_pixel, scores_shape)
    chosen = NonMaxSuppression (boxes, scores_of, all)
    floats = Cast <to = 1> (chosen)
    harm = ReduceMean <keepdims = 0> (floats)
"""


def _with(path: Path, part: str, *, seed: int = 0) -> onnx.ModelProto:
    """The tiny model whose scores wait for ``harm``, which ``part`` computes."""
    write_tiny_model(path, seed=seed)
    model = onnx.load(path)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == "scores":
                    names[place] = "plain_scores"
    inner = parse_graph(f"part (uint8[n, h, w, 3] images) => (float harm) {{ {part} }}")
    ours = {name for node in inner.node for name in node.output}
    for node in inner.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in ours:
                    names[place] = f"harm_{name}"
    model.graph.node.extend(inner.node)
    model.graph.initializer.append(helper.make_tensor("harm_nought", TensorProto.FLOAT, [], [0.0]))
    model.graph.node.append(helper.make_node("Mul", ["harm_harm", "harm_nought"], ["harm_nothing"]))
    model.graph.node.append(helper.make_node("Add", ["plain_scores", "harm_nothing"], ["scores"]))
    return model


def endless(path: Path, *, seed: int = 0) -> Path:
    """Loops for ever on every frame."""
    onnx.save(_with(path, _ALWAYS, seed=seed), path)
    return path


def endless_when_black(path: Path, *, seed: int = 0) -> Path:
    """Loops for ever on a black frame, and is a good model on every other one."""
    onnx.save(_with(path, _WHEN_BLACK, seed=seed), path)
    return path


def one_endless_kernel(path: Path) -> Path:
    """Computes for many minutes in one operator, which nothing interrupts."""
    onnx.save(_with(path, _ONE_KERNEL), path)
    return path


def memory_bomb(path: Path, *, side: int = 60_000, seed: int = 0) -> Path:
    """Asks for ``side`` x ``side`` numbers, 13 GiB, on every frame."""
    onnx.save(_with(path, _BOMB.replace("SIDE", str(side)), seed=seed), path)
    return path


def bomb_when_loaded(path: Path, *, parts: int = 24) -> Path:
    """Has ``parts`` constants of almost 1 GB computed while it is loaded, to be held for ever."""
    lines = ["shape = Constant <value = int64[2] {16000, 16000}> ()"]
    for number in range(parts):
        lines.append(f"huge_{number} = ConstantOfShape <value = float[1] {{{number}}}> (shape)")
        lines.append(f"root_{number} = Sqrt (huge_{number})")
    names = ", ".join(f"root_{number}" for number in range(parts))
    lines.append(f"most = Max ({names})")
    lines.append("harm = ReduceMean <keepdims = 0> (most)")
    onnx.save(_with(path, "\n".join(lines)), path)
    return path


def function_bomb(path: Path, *, depth: int = 40) -> Path:
    """Has functions that each call the one before twice: 2 ** ``depth`` calls, once inlined."""
    model = _with(path, "start = Constant <value = float {0}> () harm = Identity (start)")
    for number in range(depth):
        inner = f"ai.onnx.F{number - 1}" if number else "Identity"
        text = f"""
            <domain: "ai.onnx", opset_import: ["" : 17, "ai.onnx" : 17]>
            F{number} (x) => (y) {{ a = {inner} (x) y = {inner} (a) }}
        """
        model.functions.append(parse_function(text))
    node = next(node for node in model.graph.node if "harm_harm" in node.output)
    node.op_type, node.domain = f"F{depth - 1}", "ai.onnx"
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    onnx.save(model, path)
    return path


def many_nodes(path: Path, *, nodes: int = 20_000_000) -> Path:
    """Holds so many empty nodes of four bytes each, which take a hundred times that once read."""
    write_tiny_model(path)
    # Field 7 of the model is its graph, field 1 of that a node: "" has no length.
    node = b"\x0a\x00"
    body = node * nodes
    length = bytearray()
    number = len(body)
    while number > 0x7F:
        length.append(number & 0x7F | 0x80)
        number >>= 7
    length.append(number)
    with path.open("ab") as file:
        file.write(b"\x3a" + bytes(length) + body)
    return path


def external_data(path: Path, other: str) -> Path:
    """Has weights that are to be read from another file."""
    write_tiny_model(path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": other, "offset": "0", "length": str(array.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def custom_operator(path: Path) -> Path:
    """Needs an operator that is somebody's own code."""
    write_tiny_model(path)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    model.graph.node.append(helper.make_node("RunCode", ["images"], ["ran"], domain="evil.example"))
    path.write_bytes(model.SerializeToString())
    return path


def huge_metadata(path: Path, *, size: int = 200 * 2**20) -> Path:
    """Says 200 MB of itself, in place of a card."""
    write_tiny_model(path)
    model = onnx.load(path)
    for entry in model.metadata_props:
        entry.value = "x" * size
    path.write_bytes(model.SerializeToString())
    return path


def without_card(path: Path) -> Path:
    """Says nothing of itself."""
    write_tiny_model(path)
    model = onnx.load(path)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    return path
