"""Surgery on Ultralytics' plain ONNX export: pixels in, final findings out.

The plain file takes float32 RGB (N, 3, H, W) from 0 to 1 and gives the raw head
(N, 4 + classes [+ 3 K], anchors): centre, size, class scores, key points
(``ultralytics/nn/modules/head.py``). The grafted one keeps the contract of
``components/served_model.py``. Its findings are those of Ultralytics'
``non_max_suppression`` with one label a box, suppression within each class and at most
300 findings. Only standard operators are used, so every runtime that reads ONNX serves it.
"""

from typing import Any

import onnx
import onnx.compose
from onnx.parser import parse_graph

from components.errors import BadInput
from components.served_model import CARD_KEY, MAX_DETECTIONS, ModelCard

# Ultralytics shifts the boxes of each class by this many pixels, so that one
# suppression over all boxes never compares two classes.
CLASS_OFFSET = 7680
# The raw head's name inside a grafted graph.
HEAD = "head"

# The channels are turned while they are still bytes: a quarter of the memory to move.
_PRE = """
pre (uint8[batch, height, width, 3] images) => (float[batch, 3, height, width] pixels)
{
    rgb_order = Constant <value = int64[3] {2, 1, 0}> ()
    white = Constant <value = float {255}> ()
    planes = Transpose <perm = [0, 3, 1, 2]> (images)
    rgb_planes = Gather <axis = 1> (planes, rgb_order)
    levels = Cast <to = 1> (rgb_planes)
    pixels = Div (levels, white)
}
"""

# The head is taken apart, each anchor's best class found, and the kept anchors' scores
# scattered into zeros, so that nothing depends on the order of NonMaxSuppression's answer.
_POST = """
post (float[batch, C, anchors] head, float[1] confidence, float[1] iou)
    => (float[batch, found, 4] boxes, float[batch, found] scores, int32[batch, found] classes)
{
    axis_1 = Constant <value = int64[1] {1}> ()
    parts = Constant <value = int64[PART_COUNT] {PART_SIZES}> ()
    centre, size, class_scores POINTS = Split <axis = 1> (head, parts)

    best_class = ArgMax <axis = 1, keepdims = 1> (class_scores)
    best_score = GatherElements <axis = 1> (class_scores, best_class)
    best_class_f = Cast <to = 1> (best_class)
    offset_px = Constant <value = float {CLASS_OFFSET}> ()
    offset = Mul (best_class_f, offset_px)
    apart = Add (centre, offset)
    nms_columns = Concat <axis = 1> (apart, size)
    nms_boxes = Transpose <perm = [0, 2, 1]> (nms_columns)

    most = Constant <value = int64[1] {MAX_DETECTIONS}> ()
    kept = NonMaxSuppression <center_point_box = 1> (nms_boxes, best_score, most, iou, confidence)
    batch_and_anchor = Constant <value = int64[2] {0, 2}> ()
    kept_at = Gather <axis = 1> (kept, batch_and_anchor)
    anchor_scores = Squeeze (best_score, axis_1)
    kept_scores = GatherND (anchor_scores, kept_at)
    score_shape = Shape (anchor_scores)
    nothing = ConstantOfShape (score_shape)
    surviving = ScatterND (nothing, kept_at, kept_scores)

    anchor_axis = Constant <value = int64[1] {1}> ()
    anchor_count = Gather <axis = 0> (score_shape, anchor_axis)
    count = Min (most, anchor_count)
    scores, best = TopK <axis = 1> (surviving, count)
    zero = Constant <value = float {0}> ()
    row_valid = Greater (scores, zero)
    columns = Unsqueeze (best, axis_1)
    column_valid = Unsqueeze (row_valid, axis_1)

    two = Constant <value = int64[3] {1, 2, 1}> ()
    pair_columns = Expand (columns, two)
    best_centre = GatherElements <axis = 2> (centre, pair_columns)
    best_size = GatherElements <axis = 2> (size, pair_columns)
    half = Constant <value = float {0.5}> ()
    best_half = Mul (best_size, half)
    low = Sub (best_centre, best_half)
    high = Add (best_centre, best_half)
    corners = Concat <axis = 1> (low, high)
    valid_corners = Where (column_valid, corners, zero)
    boxes = Transpose <perm = [0, 2, 1]> (valid_corners)

    found_class = GatherElements <axis = 2> (best_class, columns)
    found_class_flat = Squeeze (found_class, axis_1)
    found_class_int = Cast <to = 6> (found_class_flat)
    no_class = Constant <value = int32 {0}> ()
    classes = Where (row_valid, found_class_int, no_class)
}
"""

_POST_POINTS = """
points (float[batch, P, anchors] points, int64[batch, 1, found] columns,
        bool[batch, 1, found] column_valid, float zero)
    => (float[batch, found, POINT_COUNT, 3] keypoints)
{
    point_columns_shape = Constant <value = int64[3] {1, POINT_VALUES, 1}> ()
    point_columns = Expand (columns, point_columns_shape)
    best_points = GatherElements <axis = 2> (points, point_columns)
    valid_points = Where (column_valid, best_points, zero)
    point_rows = Transpose <perm = [0, 2, 1]> (valid_points)
    keypoints_shape = Constant <value = int64[4] {0, 0, POINT_COUNT, 3}> ()
    keypoints = Reshape (point_rows, keypoints_shape)
}
"""


def graft(plain: onnx.ModelProto, card: ModelCard) -> onnx.ModelProto:
    """Make a served model of Ultralytics' plain export.

    Args:
        plain: exported with ``dynamic=True`` and, as is the default, the raw head out; it
            is not changed.
        card: goes into the metadata, beside Ultralytics' own entries.

    Raises:
        BadInput: if ``plain`` is not such an export, or not of ``card``'s classes and
            key points.
    """
    model = onnx.compose.add_prefix(plain, "yolo/")  # a copy whose names cannot meet ours
    graph = model.graph
    head = _checked_head(graph, card)

    points = len(card.labels.keypoints)
    pre = _fragment(_PRE)
    _rename(graph, {graph.input[0].name: "pixels", head: HEAD})
    nodes = [*pre.node, *graph.node]
    part_sizes = [2, 2, len(card.labels.names)] + ([3 * points] if points else [])
    post = _fragment(
        _POST,
        PART_COUNT=len(part_sizes),
        PART_SIZES=", ".join(map(str, part_sizes)),
        POINTS=", points" if points else "",
        CLASS_OFFSET=CLASS_OFFSET,
        MAX_DETECTIONS=MAX_DETECTIONS,
    )
    nodes += post.node
    outputs = list(post.output)
    if points:
        more = _fragment(_POST_POINTS, POINT_COUNT=points, POINT_VALUES=3 * points)
        nodes += more.node
        outputs += more.output

    _replace(graph.node, nodes)
    _replace(graph.input, [*pre.input, *post.input[1:]])
    _replace(graph.output, outputs)
    del graph.value_info[:]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | {CARD_KEY: card.model_dump_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _checked_head(graph: onnx.GraphProto, card: ModelCard) -> str:
    """The name of the raw head's tensor."""
    if any(node.domain not in ("", "ai.onnx") for node in graph.node):
        raise BadInput(
            "The ONNX export holds operators that are not ONNX's own: export it with plain "
            "format='onnx'."
        )
    wanted = 4 + len(card.labels.names) + 3 * len(card.labels.keypoints)
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise BadInput(
            f"The ONNX export has {len(graph.input)} inputs and {len(graph.output)} outputs "
            "instead of one each: export a detection or pose model without NMS."
        )
    pixels, head = _dims(graph.input[0]), _dims(graph.output[0])
    if len(pixels) != 4 or pixels[1] != 3 or any(isinstance(pixels[i], int) for i in (0, 2, 3)):
        raise BadInput(
            f"The ONNX export's input is {pixels} instead of (batch, 3, height, width) with "
            "dynamic sizes: export it with dynamic=True."
        )
    if len(head) != 3 or (isinstance(head[1], int) and head[1] != wanted):
        raise BadInput(
            f"The ONNX export's output is {head} instead of (batch, {wanted}, anchors): export "
            "the raw head (no NMS, not end-to-end) of a model with the "
            f"{len(card.labels.names)} classes and {len(card.labels.keypoints)} key points given."
        )
    return str(graph.output[0].name)


def _dims(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)


def _fragment(text: str, **values: object) -> onnx.GraphProto:
    for name, value in values.items():
        text = text.replace(name, str(value))
    return parse_graph(text)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)
