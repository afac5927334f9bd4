"""A small real model that obeys the served model's contract without any training.

It finds blobs, patches of one saturated colour, by their brightness, so its findings
truly depend on the frame: class 0 is red, class 1 green; for pose the left and right
end of each blob are its key points. It is put together by hand from standard operators
and goes through the project's own graft.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.parser import parse_model

from components.export.graft import graft
from components.labels import LabelSpec
from components.served_model import ModelCard

SPECS = {
    "detect": LabelSpec(task="detect", names=("red", "green")),
    "pose": LabelSpec(
        task="pose", names=("red", "green"), keypoints=("left", "right"), flip_idx=(1, 0)
    ),
}
_COLOURS_BGR = ((0, 0, 255), (0, 255, 0))

# Anchors are cells of 8 px. Around each one the coloured cells' mass gives the centre and
# the size of the blob; the colour gives the class scores, less so far from the centre.
_PLAIN = """
<ir_version: 8, opset_import: ["" : 17]>
blobs (float[batch, 3, height, width] images) => (float[batch, CHANNELS, anchors] output0)
{
    cells = Conv <kernel_shape = [8, 8], strides = [8, 8]> (images, cell_weights)
    excess = Conv <kernel_shape = [1, 1]> (cells, colour_weights)
    colours = Relu (excess)
    axis_1 = Constant <value = int64[1] {1}> ()
    mass = ReduceSum <keepdims = 1> (colours, axis_1)
    moments = Conv <kernel_shape = [5, 5], pads = [2, 2, 2, 2]> (mass, moment_weights)
    single = Constant <value = int64[3] {1, 2, 2}> ()
    total, first, second = Split <axis = 1> (moments, single)
    tiny = Constant <value = float {0.001}> ()
    safe_total = Add (total, tiny)
    shift = Div (first, safe_total)
    square = Div (second, safe_total)
    shift_squared = Mul (shift, shift)
    variance = Sub (square, shift_squared)
    positive = Relu (variance)
    twelve = Constant <value = float {12}> ()
    spread = Mul (positive, twelve)
    one = Constant <value = float {1}> ()
    spread_of_cells = Add (spread, one)
    size_cells = Sqrt (spread_of_cells)
    size_8 = Constant <value = float {SIZE}> ()
    size = Mul (size_cells, size_8)

    grid_shape = Shape (mass)
    ones = ConstantOfShape <value = float[1] {1}> (grid_shape)
    axis_x = Constant <value = int64 {3}> ()
    axis_y = Constant <value = int64 {2}> ()
    column = CumSum (ones, axis_x)
    row = CumSum (ones, axis_y)
    corner = Concat <axis = 1> (column, row)
    half = Constant <value = float {0.5}> ()
    middle = Sub (corner, half)
    centre_cells = Add (middle, shift)
    eight = Constant <value = float {8}> ()
    centre = Mul (centre_cells, eight)

    distance = ReduceSum <keepdims = 1> (shift_squared, axis_1)
    four = Constant <value = float {4}> ()
    away = Mul (distance, four)
    threshold = Constant <value = float {0.35}> ()
    gain = Constant <value = float {GAIN}> ()
    above = Sub (colours, threshold)
    sharp = Mul (above, gain)
    logits = Sub (sharp, away)
    class_scores = Sigmoid (logits)

    PARTS
    head = Concat <axis = 1> (centre, size, class_scores KEYPOINTS)
    flat = Constant <value = int64[3] {0, CHANNELS, -1}> ()
    output0 = Reshape (head, flat)
}
"""

_POINTS = """
    x, y = Split <axis = 1> (centre)
    w, h = Split <axis = 1> (size)
    reach = Mul (w, half)
    left = Sub (x, reach)
    right = Add (x, reach)
    point_score = ReduceMax <axes = [1], keepdims = 1> (class_scores)
"""


@dataclass(frozen=True)
class Blob:
    """A drawn ellipse: class, and corners x, y, x, y in pixels of the frame."""

    class_id: int
    xyxy: tuple[int, int, int, int]


def draw_frame(
    source_wh: tuple[int, int], *, seed: int = 0, blobs: int = 2
) -> tuple[np.ndarray, list[Blob]]:
    """A (H, W, 3) uint8 BGR frame with blobs that do not touch, and the truth.

    The blobs' size goes with the frame's, some 16 px at an input of 96 px.
    """
    rng = np.random.default_rng(seed)
    width, height = source_wh
    frame = rng.integers(90, 130, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    side = max(source_wh) // 6
    free = [
        (x, y) for x in range(0, width - side, 3 * side) for y in range(0, height - side, 3 * side)
    ]
    drawn = []
    for number, place in enumerate(rng.permutation(len(free))[:blobs]):
        x, y = free[place]
        w, h = (int(side * rng.uniform(0.8, 1.0)) for _ in range(2))
        x, y = (v + int(rng.integers(0, side // 4)) for v in (x, y))
        x, y = min(x, width - w), min(y, height - h)
        class_id = number % 2
        centre = (x + w // 2, y + h // 2)
        cv2.ellipse(frame, centre, (w // 2, h // 2), 0, 0, 360, _COLOURS_BGR[class_id], -1)
        drawn.append(Blob(class_id, (x, y, x + w, y + h)))
    return frame, drawn


def plain_tiny_model(*, task: Literal["detect", "pose"] = "detect", seed: int = 0):
    """The blob finder as Ultralytics would export it: raw head out, no suppression."""
    rng = np.random.default_rng(seed)
    pose = task == "pose"
    text = _PLAIN.replace("CHANNELS", "12" if pose else "6")
    text = text.replace("PARTS", _POINTS if pose else "")
    points = ", left, y, point_score, right, y, point_score" if pose else ""
    text = text.replace("KEYPOINTS", points)
    text = text.replace("SIZE", f"{8 * rng.uniform(0.95, 1.1):.4f}")
    text = text.replace("GAIN", f"{rng.uniform(7, 9):.4f}")
    model = parse_model(text)
    cell = np.zeros((3, 3, 8, 8), np.float32)
    colour = np.full((2, 3, 1, 1), -0.5, np.float32)
    for channel in range(3):
        cell[channel, channel] = 1 / 64
    colour[0, 0] = colour[1, 1] = 1
    steps = np.arange(-2, 3, dtype=np.float32)
    along_x = np.tile(steps, (5, 1))
    moment = np.stack([np.ones((5, 5), np.float32), along_x, along_x.T, along_x**2, along_x.T**2])[
        :, None
    ]
    for name, array in {
        "cell_weights": cell,
        "colour_weights": colour,
        "moment_weights": moment,
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def write_tiny_model(
    path: Path, *, task: Literal["detect", "pose"] = "detect", seed: int = 0, imgsz: int = 96
) -> ModelCard:
    """Write a served model of a few kB to ``path``; another ``seed`` answers otherwise.

    Seeds differ in the boxes' size by some percent and in the scores. Frames of
    ``draw_frame`` show it something to find at its default thresholds.
    """
    card = ModelCard(labels=SPECS[task], imgsz=imgsz, stride=32)
    model = graft(plain_tiny_model(task=task, seed=seed), card)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return card
