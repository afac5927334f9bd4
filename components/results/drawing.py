"""Drawing one frame's findings on it: boxes, names, key points and a trail."""

import colorsys
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

from components.frame_results import FrameResult, ResultsMetadata

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SURE = 0.5
_SHIFT = 3  # OpenCV draws at eighths of a pixel

Colour = tuple[int, int, int]


def identity_colour(identity: str, class_id: int) -> Colour:
    """A BGR colour for an identity, always the same; without one, its class' colour.

    Hues follow the golden ratio, so neighbouring numbers lie far apart.
    """
    number = int(identity) if identity.isdecimal() else class_id + 0.5
    red, green, blue = colorsys.hsv_to_rgb((0.08 + number * 0.618034) % 1.0, 0.85, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


class FrameDrawer:
    """Draws the findings of a video's frames, in their order, since trails reach back.

    Sizes follow the frame's, so that text is legible in a small video and lines are not
    hairs in a large one.
    """

    def __init__(self, metadata: ResultsMetadata, *, trail_seconds: float = 1.0) -> None:
        self._class_ids = {name: i for i, name in enumerate(metadata.labels.names)}
        self._size = np.asarray([metadata.origin_width, metadata.origin_height], np.float64)
        short = min(metadata.origin_width, metadata.origin_height)
        self._line = max(1, round(short / 320))
        self._font_scale = max(0.36, short / 1000)
        self._font_line = max(1, round(short / 500))
        self._trail_seconds = trail_seconds
        self._trails: dict[str, deque[tuple[float, np.ndarray]]] = {}

    def draw(self, frame_bgr: np.ndarray, found: FrameResult) -> None:
        """Draw ``found`` on the (H, W, 3) uint8 frame, in place."""
        self._remember(found)
        colours = [
            identity_colour(identity, self._class_ids.get(name, 0))
            for identity, name in zip(found.ids, found.classes, strict=True)
        ]
        for identity, colour in zip(found.ids, colours, strict=True):
            self._draw_trail(frame_bgr, identity, colour)
        points = found.smoothed_keypoints or found.keypoints
        for i, (box, colour) in enumerate(zip(found.boxes, colours, strict=True)):
            x1, y1, x2, y2 = (round(value * (1 << _SHIFT)) for value in box)
            cv2.rectangle(frame_bgr, (x1, y1), (x2, y2), colour, self._line, cv2.LINE_AA, _SHIFT)
            if points:
                self._draw_points(frame_bgr, points[i], found.keypoints_score[i], colour)
        # Labels come last: no other object's box may cross them.
        for i, colour in enumerate(colours):
            name = " ".join(filter(None, (found.classes[i], found.ids[i])))
            self._draw_label(
                frame_bgr, f"{name} {found.boxes_score[i]:.2f}", found.boxes[i], colour
            )

    def _remember(self, found: FrameResult) -> None:
        for identity, (x1, y1, x2, y2) in zip(found.ids, found.boxes, strict=True):
            if identity:
                trail = self._trails.setdefault(identity, deque())
                trail.append((found.timestamp, np.asarray([(x1 + x2) / 2, (y1 + y2) / 2])))
        for identity, trail in list(self._trails.items()):
            while trail and trail[0][0] < found.timestamp - self._trail_seconds:
                trail.popleft()
            if not trail:
                del self._trails[identity]

    def _draw_trail(self, frame_bgr: np.ndarray, identity: str, colour: Colour) -> None:
        trail = self._trails.get(identity)
        if trail is not None and len(trail) > 1:
            path = np.round(np.stack([place for _, place in trail]) * (1 << _SHIFT))
            cv2.polylines(
                frame_bgr, [path.astype(np.int32)], False, colour, self._line, cv2.LINE_AA, _SHIFT
            )

    def _draw_points(
        self,
        frame_bgr: np.ndarray,
        points: Sequence[Sequence[float]],
        scores: Sequence[float],
        colour: Colour,
    ) -> None:
        radius = 1.5 * self._line
        centres = np.round(np.asarray(points) * self._size * (1 << _SHIFT)).astype(int).tolist()
        for (x, y), score in zip(centres, scores, strict=True):
            ring = round((radius + self._line) * (1 << _SHIFT))
            dot = round(radius * (1 << _SHIFT))
            if score >= _SURE:
                cv2.circle(frame_bgr, (x, y), ring, (0, 0, 0), -1, cv2.LINE_AA, _SHIFT)
                cv2.circle(frame_bgr, (x, y), dot, colour, -1, cv2.LINE_AA, _SHIFT)
            else:  # hollow: the model does not see it there
                cv2.circle(frame_bgr, (x, y), dot, colour, 1, cv2.LINE_AA, _SHIFT)

    def _draw_label(
        self, frame_bgr: np.ndarray, text: str, box: Sequence[float], colour: Colour
    ) -> None:
        # OpenCV's fonts hold ASCII only.
        text = text.encode("ascii", "replace").decode()
        (width, height), below = cv2.getTextSize(text, _FONT, self._font_scale, self._font_line)
        pad = self._line + 1
        full_w, full_h = width + 2 * pad, height + below + 2 * pad
        x = int(np.clip(box[0], 0, max(0, frame_bgr.shape[1] - full_w)))
        # Above the box, or where the frame ends there, inside it.
        y = int(box[1]) - full_h if box[1] >= full_h else max(0, int(box[1]))
        y = min(y, max(0, frame_bgr.shape[0] - full_h))
        cv2.rectangle(frame_bgr, (x, y), (x + full_w, y + full_h), colour, -1)
        blue, green, red = colour
        bright = 0.114 * blue + 0.587 * green + 0.299 * red > 110
        cv2.putText(
            frame_bgr,
            text,
            (x + pad, y + pad + height),
            _FONT,
            self._font_scale,
            (0, 0, 0) if bright else (255, 255, 255),
            self._font_line,
            cv2.LINE_AA,
        )
