"""Frames of blobs whose truth is known as labels, and tiny models that find fewer of them."""

from pathlib import Path

import cv2
import onnx
from onnx import numpy_helper

from tests.helpers.tiny_onnx import draw_frame

WH = (160, 120)


def write_labelled_blobs(folder: Path, task: str, count: int) -> Path:
    """Frames named as a video's, each with its labels; for pose a blob's left and right end."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        frame, blobs = draw_frame(WH, seed=number)
        lines = []
        for blob in blobs:
            x1, y1, x2, y2 = blob.xyxy
            x, y = (x1 + x2) / 2 / WH[0], (y1 + y2) / 2 / WH[1]
            points = f" {x1 / WH[0]} {y} 2 {x2 / WH[0]} {y} 2" if task == "pose" else ""
            size = f"{(x2 - x1) / WH[0]} {(y2 - y1) / WH[1]}"
            lines.append(f"{blob.class_id} {x} {y} {size}{points}\n")
        cv2.imwrite(str(folder / f"frame_{number:06d}.png"), frame)
        (folder / f"frame_{number:06d}.txt").write_text("".join(lines))
    return folder


def make_blind(path: Path, *class_ids: int) -> None:
    """Let the tiny model in ``path`` find no blob of these classes."""
    model = onnx.load(path)
    for one in model.graph.initializer:
        if one.name.endswith("colour_weights"):
            weights = numpy_helper.to_array(one).copy()
            weights[list(class_ids)] = -0.5
            one.CopyFrom(numpy_helper.from_array(weights, one.name))
    onnx.save(model, path)
