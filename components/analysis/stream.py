"""Frames through a model, decoding, inferring and what follows at the same time.

    read_frames -> letterbox -> batches   (one thread)
        -> model.infer                    (two threads: the server never waits for a request)
            -> the caller

Each stage holds a fixed number of batches and waits for the next one, so memory does not
grow with the video's length.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from components.detections import Detections
from components.letterbox import Letterbox
from components.served_model import ModelCard, read_outputs
from components.video.reader import Frame

_IN_FLIGHT = 2
_POLL_SECONDS = 0.2


class InferringModel(Protocol):
    """What an analysis needs of a model; ``TritonModel`` and ``OnnxModel`` have it.

    ``infer`` takes (N, H, W, 3) uint8 BGR frames and gives the output tensors by name (see
    ``components/served_model.py``); two threads may call it at a time.
    """

    card: ModelCard

    def infer(
        self, images: np.ndarray, *, confidence: float, iou: float
    ) -> Mapping[str, np.ndarray]: ...


@dataclass(frozen=True)
class FoundInFrame:
    """A frame's index and time stamp in seconds, and its detections in source pixels."""

    index: int
    timestamp: float
    found: Detections


@dataclass(frozen=True)
class _Batch:
    indices: list[int]
    timestamps: list[float]
    outputs: Future[Mapping[str, np.ndarray]]


@contextmanager
def detections_of(
    frames: Iterable[Frame],
    model: InferringModel,
    *,
    source_wh: tuple[int, int],
    confidence: float,
    iou: float,
    batch_size: int,
) -> Iterator[Iterator[list[FoundInFrame]]]:
    """Open the stream of a video's detections: its batches, in the frames' order.

    An error in any thread is raised where the caller waits for the next batch. On leaving
    the block all threads have ended, whatever happened.

    Args:
        frames: the frames, all of ``source_wh``; read in a thread of its own.
        model: what finds.
        source_wh: width and height of a frame, pixels.
        confidence, iou: the model's thresholds.
        batch_size: frames in a request.
    """
    letterbox = Letterbox.of(source_wh, model.card.imgsz, model.card.stride)
    batches: queue.Queue[_Batch | BaseException | None] = queue.Queue(maxsize=_IN_FLIGHT)
    stop = threading.Event()

    def put(item: _Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                batches.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def read(pool: ThreadPoolExecutor) -> None:
        def send(images: np.ndarray, indices: list[int], timestamps: list[float]) -> None:
            outputs = pool.submit(model.infer, images, confidence=confidence, iou=iou)
            put(_Batch(indices, timestamps, outputs))

        try:
            # Only the small, letterboxed frames wait; a large source frame never does.
            images = np.empty((batch_size, *letterbox.input_hw, 3), np.uint8)
            indices: list[int] = []
            timestamps: list[float] = []
            for frame in frames:
                if stop.is_set():
                    return
                letterbox.apply(frame.bgr, images[len(indices)])
                indices.append(frame.index)
                timestamps.append(frame.timestamp)
                if len(indices) == batch_size:
                    send(images, indices, timestamps)
                    images, indices, timestamps = np.empty_like(images), [], []
            if indices:
                send(images[: len(indices)], indices, timestamps)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            put(error)
        else:
            put(None)

    def results() -> Iterator[list[FoundInFrame]]:
        while (item := batches.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            found = read_outputs(item.outputs.result(), letterbox)
            yield [
                FoundInFrame(*facts)
                for facts in zip(item.indices, item.timestamps, found, strict=True)
            ]

    with ExitStack() as stack:
        pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="analysis-infer")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        reader = threading.Thread(target=read, args=(pool,), name="analysis-read")
        stack.callback(reader.join)
        stack.callback(stop.set)
        reader.start()
        yield results()
