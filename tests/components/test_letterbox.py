import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.letterbox import Letterbox
from components.ultralytics_env import prepare

SIDES = st.integers(1, 1500)
IMGSZ = st.integers(1, 22).map(lambda n: 32 * n)


@pytest.fixture(scope="module", autouse=True)
def _ultralytics():
    prepare()


def random_frame(width, height):
    rng = np.random.default_rng(width * 10_000 + height)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(width=SIDES, height=SIDES, imgsz=IMGSZ)
@example(width=1400, height=1, imgsz=64)
@settings(max_examples=150, deadline=None)
def test_the_input_is_ultralytics_own_to_the_byte(width, height, imgsz):
    from ultralytics.data.augment import LetterBox

    frame = random_frame(width, height)
    expected = LetterBox((imgsz, imgsz), auto=True, stride=32)(image=frame)
    letterbox = Letterbox.of((width, height), imgsz)
    found = letterbox.apply(frame)
    assert found.shape[:2] == letterbox.input_hw
    np.testing.assert_array_equal(found, expected)


@given(width=SIDES, height=SIDES, imgsz=IMGSZ, seed=st.integers(0, 99))
@example(width=1280, height=65, imgsz=640, seed=0)  # 32.5 is rounded down to the stride
@example(width=1400, height=1, imgsz=64, seed=0)
@settings(max_examples=300, deadline=None)
def test_boxes_and_key_points_come_back_as_from_ultralytics(width, height, imgsz, seed):
    import torch
    from ultralytics.utils.ops import scale_boxes, scale_coords

    letterbox = Letterbox.of((width, height), imgsz)
    input_h, input_w = letterbox.input_hw
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.2, 1.2, (8, 2)) * (input_w, input_h)
    points = points.astype(np.float32)
    as_points = scale_coords((input_h, input_w), torch.tensor(points), (height, width))
    as_boxes = scale_boxes((input_h, input_w), torch.tensor(points.reshape(4, 4)), (height, width))
    np.testing.assert_array_equal(letterbox.restore(points), as_points.numpy())
    restored = letterbox.restore(points.reshape(4, 2, 2)).reshape(4, 4)
    np.testing.assert_array_equal(restored, as_boxes.numpy())


@pytest.mark.parametrize(
    ("source_wh", "input_hw"),
    [((640, 480), (480, 640)), ((1280, 720), (384, 640)), ((480, 640), (640, 480))],
)
def test_a_frame_is_padded_to_the_stride_and_not_to_a_square(source_wh, input_hw):
    assert Letterbox.of(source_wh, 640).input_hw == input_hw


def test_a_buffer_that_was_used_before_is_filled_as_a_new_one():
    frame = random_frame(130, 70)
    letterbox = Letterbox.of((130, 70), 128)
    used = np.full((*letterbox.input_hw, 3), 9, np.uint8)
    assert letterbox.apply(frame, used) is used
    np.testing.assert_array_equal(used, letterbox.apply(frame))


def test_a_point_goes_there_and_back_within_a_pixel():
    letterbox = Letterbox.of((1920, 1080), 640)
    source = np.array([[0, 0], [960, 540], [1919, 1079]], np.float32)
    there = source * letterbox.gain_xy + letterbox.offset_xy
    np.testing.assert_allclose(letterbox.restore(there), source, atol=0.01)
