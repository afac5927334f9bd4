import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.analysis.stream import detections_of
from components.video.reader import Frame
from tests.helpers.squares import ColourModel

IMAGE = np.full((96, 128, 3), 120, np.uint8)


def frames(count, log=None):
    for index in range(count):
        if log is not None:
            log.append(index)
        yield Frame(index, index / 25, IMAGE)


def opened(source, model, batch_size=2):
    return detections_of(
        source, model, source_wh=(128, 96), confidence=0.25, iou=0.7, batch_size=batch_size
    )


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class SlotsAnsweredLate:
    """Slots as a server's, answered from threads that may overtake each other."""

    def __init__(self, model):
        self.model, self.card = model, model.card
        self.closed = 0

    def slots(self, count, images_nhw):
        return [LateSlot(self, images_nhw) for _ in range(count)]


class LateSlot:
    def __init__(self, owner, images_nhw):
        self.owner, self.room = owner, np.empty((*images_nhw, 3), np.uint8)
        self.pool = ThreadPoolExecutor(1)

    def images(self, n, height, width):
        self.view = self.room[:n]
        return self.view

    def submit(self, *, confidence, iou):
        return self.pool.submit(self.owner.model.infer, self.view, confidence=confidence, iou=iou)

    def close(self):
        self.pool.shutdown()
        self.owner.closed += 1


def test_the_order_stays_whichever_request_is_answered_first(model):
    later = threading.Event()

    def before(requests):
        if requests == 1:
            assert later.wait(20)
        else:
            later.set()

    model.before_infer = before
    slotted = SlotsAnsweredLate(model)
    with opened(frames(9), slotted) as batches:
        assert [item.index for batch in batches for item in batch] == list(range(9))
    assert sum(model.batch_sizes) == 9
    assert slotted.closed == 3


def test_reading_waits_for_a_slow_caller(model):
    read: list[int] = []
    with opened(frames(10_000, read), model) as batches:
        next(batches)
        settled = [-1]

        def still():
            settled.append(len(read))
            time.sleep(0.25)
            return settled[-1] == settled[-2]

        until(still)
        # Three slots, the batch that the caller has, and the frame in the reader's hand.
        assert 2 * 3 <= len(read) <= 2 * 4 + 1


def test_an_error_of_the_reader_is_raised_to_the_caller(model):
    def broken():
        yield from frames(5)
        raise OSError("the disk broke")

    with pytest.raises(OSError, match="the disk broke"), opened(broken(), model) as batches:
        for _ in batches:
            pass


def test_an_error_of_the_model_is_raised_although_the_reader_could_go_on_for_ever(model):
    def before(requests):
        if requests == 3:
            raise ValueError("the model broke")

    model.before_infer = before
    with (
        pytest.raises(ValueError, match="the model broke"),
        opened(frames(10**9), model) as batches,
    ):
        for _ in batches:
            pass


def test_leaving_early_ends_all_threads(model):
    with opened(frames(10**9), model) as batches:
        next(batches)
        assert [t for t in threading.enumerate() if t.name.startswith("analysis")]
    assert not [t for t in threading.enumerate() if t.name.startswith("analysis")]


def test_no_frames_are_no_batches():
    with opened(frames(0), ColourModel()) as batches:
        assert list(batches) == []
