"""Frames through a model: decoding, inferring and what follows at the same time.

    read_frames -> letterbox -> a free slot   (a thread)
        -> the model                          (a server, or a thread)
            -> the caller, who frees the slot

A slot holds one batch. With three of them one is filled while the model works on
another and has a third in hand, and no more frames than those are ever waiting, so memory
does not grow with the video's length.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from components.analysis.local_slot import InferringModel, LocalSlot
from components.detections import Detections
from components.letterbox import Letterbox
from components.served_model import ModelCard, read_outputs
from components.video.reader import Frame

_SLOTS = 3


class BatchSlot(Protocol):
    """Room for one batch of letterboxed frames on its way to a model."""

    def images(self, n: int, height: int, width: int) -> np.ndarray:
        """A view (n, height, width, 3) uint8 to write the batch into."""

    def submit(self, *, confidence: float, iou: float) -> "Future[dict[str, np.ndarray]]":
        """Ask for the outputs of what was written; leave it alone until they are there."""

    def close(self) -> None:
        """Wait for what is under way and give the room back."""


@runtime_checkable
class SlottedModel(Protocol):
    """A model that brings its own slots, as ``TritonModel`` does with shared memory."""

    @property
    def card(self) -> ModelCard: ...

    def slots(self, count: int, images_nhw: tuple[int, int, int]) -> Sequence[BatchSlot]: ...


AnalysisModel = SlottedModel | InferringModel


@dataclass(frozen=True)
class FoundInFrame:
    """A frame's index and time stamp in seconds, and its detections in source pixels."""

    index: int
    timestamp: float
    found: Detections


@dataclass
class _Batch:
    slot: BatchSlot
    frames: list[tuple[int, float]] = field(default_factory=list)
    outputs: "Future[dict[str, np.ndarray]] | None" = None


@contextmanager
def detections_of(
    frames: Iterable[Frame],
    model: AnalysisModel,
    *,
    source_wh: tuple[int, int],
    confidence: float,
    iou: float,
    batch_size: int,
) -> Iterator[Iterator[list[FoundInFrame]]]:
    """Open the stream of a video's detections: its batches, in the frames' order.

    An error in any thread is raised where the caller waits for the next batch. On leaving
    the block all threads have ended and all slots are given back, whatever happened.

    Args:
        frames: the frames, all of ``source_wh``; read in a thread of its own.
        model: what finds.
        source_wh: width and height of a frame, pixels.
        confidence, iou: the model's thresholds.
        batch_size: frames in a request.
    """
    letterbox = Letterbox.of(source_wh, model.card.imgsz, model.card.stride)
    with ExitStack() as stack:
        slots = _slots(model, (batch_size, *letterbox.input_hw), stack)
        stream = _Stream(frames, letterbox, slots, batch_size, confidence, iou)
        stack.callback(stream.stop)
        stream.start()
        yield stream.batches()


def _slots(
    model: AnalysisModel, images_nhw: tuple[int, int, int], stack: ExitStack
) -> Sequence[BatchSlot]:
    slots: Sequence[BatchSlot]
    if isinstance(model, SlottedModel):
        slots = model.slots(_SLOTS, images_nhw)
    else:
        pool = ThreadPoolExecutor(1, thread_name_prefix="analysis-infer")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        slots = [LocalSlot(model, pool, images_nhw) for _ in range(_SLOTS)]
    for slot in slots:
        stack.callback(slot.close)
    return slots


class _Stream:
    def __init__(
        self,
        frames: Iterable[Frame],
        letterbox: Letterbox,
        slots: Sequence[BatchSlot],
        batch_size: int,
        confidence: float,
        iou: float,
    ) -> None:
        self._frames = frames
        self._letterbox = letterbox
        self._batch_size = batch_size
        self._thresholds = {"confidence": confidence, "iou": iou}
        # None in either ends the one who waits there.
        self._free: queue.SimpleQueue[BatchSlot | None] = queue.SimpleQueue()
        self._sent: queue.SimpleQueue[_Batch | BaseException | None] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="analysis-read")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._free.put(None)
        self._thread.join()

    def batches(self) -> Iterator[list[FoundInFrame]]:
        while (batch := self._sent.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            assert batch.outputs is not None  # noqa: S101 - sent only with them
            outputs = batch.outputs.result()
            self._free.put(batch.slot)
            yield [
                FoundInFrame(index, timestamp, found)
                for (index, timestamp), found in zip(
                    batch.frames, read_outputs(outputs, self._letterbox), strict=True
                )
            ]

    def _read(self) -> None:
        try:
            self._send_all()
        except BaseException as error:  # noqa: BLE001 - raised again where the caller waits
            self._sent.put(error)
        else:
            self._sent.put(None)

    def _send_all(self) -> None:
        batch: _Batch | None = None
        for frame in self._frames:
            if batch is None:
                slot = self._free.get()
                if slot is None:
                    return
                batch = _Batch(slot)
                images = slot.images(self._batch_size, *self._letterbox.input_hw)
            if self._stopped.is_set():
                return
            self._letterbox.apply(frame.bgr, images[len(batch.frames)])
            batch.frames.append((frame.index, frame.timestamp))
            if len(batch.frames) == self._batch_size:
                self._send(batch)
                batch = None
        if batch is not None:
            self._send(batch)

    def _send(self, batch: _Batch) -> None:
        # Fewer frames than the slot has room for stand at its beginning.
        batch.slot.images(len(batch.frames), *self._letterbox.input_hw)
        batch.outputs = batch.slot.submit(**self._thresholds)
        self._sent.put(batch)
