"""The demo's video: drawn shapes that move over a textured ground, and where they are.

Everything follows from the seed, so a demo can be repeated, and the truth is exact: no
person had to label it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from components.files import write_text
from components.labels import FrameLabels, LabelSpec, format_yolo_labels
from components.video.extract import frame_name
from components.video.writer import Mp4Writer

NAMES = ("disc", "square", "triangle")
# Apart from the ground in brightness too: training with random saturation needs that.
_FILL_BGR = ((48, 96, 226), (190, 110, 30), (70, 140, 40))
_PER_CLASS = 2
_SUBPIXEL_BITS = 4
_RIM = 0.12  # width of a shape's dark rim, in radii


@dataclass(frozen=True)
class SampleTruth:
    """What a sample video shows.

    Attributes:
        spec: the task and its class names.
        wh: width and height of the video, pixels.
        fps: frames per second.
        frames: the objects in each frame; every one lies wholly inside it.
    """

    spec: LabelSpec
    wh: tuple[int, int]
    fps: float
    frames: tuple[FrameLabels, ...]

    def write_labels(self, folder: Path, indices: Sequence[int]) -> list[Path]:
        """Write YOLO text for these frames, named like the extracted frames."""
        paths = [Path(folder) / f"{frame_name(index)}.txt" for index in indices]
        for path, index in zip(paths, indices, strict=True):
            write_text(path, format_yolo_labels(self.frames[index]))
        return paths


@dataclass(frozen=True)
class _Sprite:
    """One shape through all frames.

    Attributes:
        class_id: index into ``NAMES``.
        centre: (frames, 2) pixels.
        radius: (frames,) of the circle around it, pixels.
        angle: (frames,) radians.
    """

    class_id: int
    centre: np.ndarray
    radius: np.ndarray
    angle: np.ndarray

    def outline(self, frame: int, scale: float = 1.0) -> np.ndarray:
        """(k, 2) float corners, pixels; a disc is a polygon of many."""
        corners = {"disc": 40, "square": 4, "triangle": 3}[NAMES[self.class_id]]
        turn = self.angle[frame] + np.arange(corners) * (2 * np.pi / corners)
        unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return self.centre[frame] + scale * self.radius[frame] * unit


def make_sample(
    video: Path,
    *,
    seed: int = 0,
    frames: int = 360,
    fps: float = 30,
    wh: tuple[int, int] = (480, 360),
) -> SampleTruth:
    """Draw a sample video, two of each shape, and say where they are.

    Args:
        video: the MP4 to write; it appears whole.
        seed: decides ground, colours, sizes and motion.
        frames: how many to draw.
        fps: frames per second.
        wh: width and height, pixels; sizes and speeds follow the height.

    Raises:
        StorageFull: when the disk is full.
    """
    rng = np.random.default_rng(seed)
    ground = _ground(rng, wh)
    sprites = _sprites(rng, frames, fps, wh)
    with Mp4Writer(video, wh=wh, fps=fps) as writer:
        for index in range(frames):
            picture = ground.copy()
            for sprite in sprites:
                _draw(picture, sprite, index)
            writer.write(picture)
    return SampleTruth(
        spec=LabelSpec(task="detect", names=NAMES),
        wh=wh,
        fps=fps,
        frames=tuple(_labels(sprites, index, wh) for index in range(frames)),
    )


def _ground(rng: np.random.Generator, wh: tuple[int, int]) -> np.ndarray:
    """A (H, W, 3) uint8 ground like gravel: noise of several grain sizes."""
    width, height = wh
    noise = np.zeros((height, width), np.float32)
    for grain, weight in ((96, 16), (24, 9), (7, 8), (2, 7)):
        small = rng.standard_normal((height // grain + 2, width // grain + 2), np.float32)
        noise += weight * cv2.resize(small, wh, interpolation=cv2.INTER_CUBIC)
    tint = np.asarray([176, 190, 196], np.float32)
    return np.clip(tint + noise[..., None], 0, 255).astype(np.uint8)


def _sprites(
    rng: np.random.Generator, frames: int, fps: float, wh: tuple[int, int]
) -> list[_Sprite]:
    classes = np.repeat(np.arange(len(NAMES)), _PER_CLASS)
    unit = wh[1] / 360
    time = np.arange(frames) / fps
    base = rng.uniform(30, 42, len(classes)) * unit
    phase, period = rng.uniform(0, 2 * np.pi, len(classes)), rng.uniform(3, 7, len(classes))
    radius = base * (1 + 0.15 * np.sin(2 * np.pi * time[:, None] / period + phase))
    centre = _paths(rng, radius, fps, wh)
    spin = rng.uniform(0.3, 1.2, len(classes)) * rng.choice([-1, 1], len(classes))
    angle = rng.uniform(0, 2 * np.pi, len(classes)) + spin * time[:, None]
    return [
        _Sprite(int(class_id), centre[:, i], radius[:, i], angle[:, i])
        for i, class_id in enumerate(classes)
    ]


def _paths(
    rng: np.random.Generator, radius: np.ndarray, fps: float, wh: tuple[int, int]
) -> np.ndarray:
    """(frames, n, 2) centres: a wandering push on each, away from walls and from each other."""
    frames, count = radius.shape
    unit = wh[1] / 360
    cells = [(x, y) for y in (0.27, 0.73) for x in (0.18, 0.5, 0.82)]
    place = np.asarray(cells)[rng.permutation(len(cells))[:count]] * wh
    speed = rng.normal(0, 40, (count, 2)) * unit
    heading = rng.uniform(0, 2 * np.pi, count)
    centres = np.empty((frames, count, 2))
    # The first two seconds, which leave the starting grid, are not shown.
    for frame in range(-round(2 * fps), frames):
        now = radius[max(frame, 0)]
        heading += rng.normal(0, 2.5 / np.sqrt(fps), count)
        push = 160 * unit * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        away = place[:, None] - place[None, :]
        distance = np.linalg.norm(away, axis=2) + np.eye(count)
        overlap = np.clip(1.15 * (now[:, None] + now) - distance, 0, None)
        np.fill_diagonal(overlap, 0)
        push += 40 * (overlap[..., None] * away / distance[..., None]).sum(axis=1)
        low, high = now[:, None], np.asarray(wh) - now[:, None]
        push += 60 * (np.clip(low * 1.2 - place, 0, None) - np.clip(place - high * 0.98, 0, None))
        speed = (speed + push / fps) * (1 - 0.9 / fps)
        place = np.clip(place + speed / fps, low + 1, high - 1)
        if frame >= 0:
            centres[frame] = place
    return centres


def _draw(picture: np.ndarray, sprite: _Sprite, frame: int) -> None:
    colour = np.asarray(_FILL_BGR[sprite.class_id], float)
    radius = sprite.radius[frame]
    shadow = np.zeros(picture.shape[:2], np.uint8)
    _fill(shadow, sprite.outline(frame) + 0.14 * radius, 110)
    shadow = cv2.blur(shadow, (9, 9))
    picture[:] = cv2.multiply(
        picture, cv2.merge([255 - shadow] * 3), scale=1 / 255, dtype=cv2.CV_8U
    )
    _fill(picture, sprite.outline(frame), 0.55 * colour)
    _fill(picture, sprite.outline(frame, 1 - _RIM), colour)
    # A light spot off the centre shows the turning, also of a disc.
    spot = sprite.centre[frame] + 0.12 * (sprite.outline(frame)[0] - sprite.centre[frame])
    _fill(picture, sprite.outline(frame, 0.3) - sprite.centre[frame] + spot, 0.5 * colour + 127)


def _fill(picture: np.ndarray, corners: np.ndarray, colour: np.ndarray | float) -> None:
    points = np.round(corners * 2**_SUBPIXEL_BITS).astype(np.int32)
    value = np.broadcast_to(colour, picture.shape[2:] or (1,)).tolist()
    cv2.fillPoly(picture, [points], value, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)


def _labels(sprites: list[_Sprite], frame: int, wh: tuple[int, int]) -> FrameLabels:
    boxes = []
    for sprite in sprites:
        corners = sprite.outline(frame)
        low, high = corners.min(axis=0), corners.max(axis=0)
        # A pixel's centre has a whole number as its place; boxes count from its edge.
        boxes.append(np.concatenate([(low + high) / 2 + 0.5, high - low + 1]) / [*wh, *wh])
    return FrameLabels(
        class_ids=np.asarray([sprite.class_id for sprite in sprites], np.int64),
        boxes_cxcywhn=np.asarray(boxes, np.float32),
        keypoints_xyvn=np.zeros((len(sprites), 0, 3), np.float32),
    )
