"""Embeddings: what stands elsewhere is far, what is lit otherwise is near."""

import cv2
import numpy as np

from components.video.selection.embedding import SMALL_WH, embed


def scene(x: int, y: int = 100, colour: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    frame = np.full((240, 320, 3), 180, np.uint8)
    frame[:, 300:] = 90
    cv2.circle(frame, (x, y), 20, colour, -1)
    return frame


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(embed(a) - embed(b)))


def test_farther_away_is_farther() -> None:
    here, near, far = scene(60), scene(75), scene(220)
    assert 0 < apart(here, near) < apart(here, far)


def test_light_counts_less_than_place() -> None:
    here = scene(60)
    darker = (here * 0.8).astype(np.uint8)
    assert apart(here, darker) < apart(here, scene(70)) / 2


def test_colour_counts() -> None:
    # Both circles are of one grey.
    blue, red = scene(60, colour=(240, 30, 30)), scene(60, colour=(30, 30, 240))
    assert apart(blue, red) > 0.05


def test_size_hardly_counts() -> None:
    large = cv2.resize(scene(60), (1280, 960))
    assert embed(large).shape == embed(scene(60)).shape
    assert embed(large).dtype == np.float32
    assert apart(large, scene(60)) < 0.05
    small = cv2.resize(large, SMALL_WH, interpolation=cv2.INTER_AREA)
    assert apart(large, small) == 0


def test_noise_on_an_empty_picture_stays_noise() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.integers(127, 130, (32, 32, 3)).astype(np.uint8) for _ in range(2))
    assert np.isfinite(embed(np.zeros((32, 32, 3), np.uint8))).all()
    assert apart(one, two) < 0.2
