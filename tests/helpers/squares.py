"""Videos of moving coloured squares, and a model that finds them by their colour."""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from components.labels import LabelSpec
from components.served_model import ModelCard
from components.video.writer import Mp4Writer

WH = (128, 96)
FPS = 25
COLOURS_BGR = {"red": (40, 40, 230), "green": (40, 200, 40)}


class ColourModel:
    """Keeps the served model's contract: each class is a colour, each blob of it a finding.

    A real function of the pixels, without an inference runtime: pose's two key points are
    a blob's upper left and lower right corner, the second one unsure.
    """

    def __init__(self, task: str = "pose", imgsz: int = 128) -> None:
        keypoints = ("head", "tail") if task == "pose" else ()
        spec = LabelSpec(task=task, names=tuple(COLOURS_BGR), keypoints=keypoints)
        self.card = ModelCard(labels=spec, imgsz=imgsz)
        self.batch_sizes: list[int] = []
        self.before_infer: Callable[[int], None] = lambda requests: None
        self._lock = threading.Lock()

    def infer(self, images: np.ndarray, *, confidence: float, iou: float) -> dict[str, np.ndarray]:
        with self._lock:
            self.batch_sizes.append(len(images))
            requests = len(self.batch_sizes)
        self.before_infer(requests)
        n, most = len(images), 4
        outputs = {
            "boxes": np.zeros((n, most, 4), np.float32),
            "scores": np.zeros((n, most), np.float32),
            "classes": np.zeros((n, most), np.int32),
            "keypoints": np.zeros((n, most, 2, 3), np.float32),
        }
        for i, image in enumerate(images):
            found = 0
            for class_id, colour in enumerate(COLOURS_BGR.values()):
                mask = (np.abs(image.astype(int) - colour).max(axis=2) < 70).astype(np.uint8)
                _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
                for x, y, w, h, area in stats[1:]:
                    if area >= 60 and found < most:
                        outputs["boxes"][i, found] = x, y, x + w, y + h
                        outputs["scores"][i, found] = 0.95 - 0.01 * found
                        outputs["classes"][i, found] = class_id
                        outputs["keypoints"][i, found] = [(x, y, 0.9), (x + w, y + h, 0.2)]
                        found += 1
        if self.card.labels.task == "detect":
            del outputs["keypoints"]
        return outputs


def squares_at(index: int) -> list[tuple[str, int, int]]:
    """Colour and corner of the squares in a frame: two red that stay apart, one green.

    The green one is away in frames 20 to 29, and nothing is there in frames 40 to 44.
    """
    if 40 <= index < 45:
        return []
    swing = round(20 * np.sin(index / 6))
    places = [("red", 30 + swing, 8), ("red", 30 - swing, 64)]
    if not 20 <= index < 30:
        places.append(("green", 90, 36 + swing))
    return places


def write_squares(path: Path, frames: int, *, wh: tuple[int, int] = WH) -> Path:
    """Write a video of ``squares_at`` each index, 18 pixels wide."""
    scale = wh[0] // WH[0]
    with Mp4Writer(path, wh=wh, fps=FPS, preset="ultrafast") as writer:
        for index in range(frames):
            image = np.full((wh[1], wh[0], 3), 120, np.uint8)
            for colour, x, y in squares_at(index):
                corner, end = (x * scale, y * scale), ((x + 17) * scale, (y + 17) * scale)
                cv2.rectangle(image, corner, end, COLOURS_BGR[colour], -1)
            writer.write(image)
    return path
