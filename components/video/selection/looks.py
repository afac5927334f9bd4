"""The looks of chosen frames of a video: their times and embeddings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import BadInput
from components.steps import Progress
from components.video.reader import read_small_frames
from components.video.selection.embedding import SMALL_WH, embed


@dataclass(frozen=True)
class Looks:
    """What so many frames of a video look like.

    Attributes:
        indices: (n,) rising.
        times: (n,) seconds.
        embeddings: (n, D) float32.
    """

    indices: np.ndarray
    times: np.ndarray
    embeddings: np.ndarray

    def rows(self, indices: np.ndarray) -> list[int]:
        """Where frames lie that are all among these."""
        return np.searchsorted(self.indices, indices).tolist()


def read_looks(video: Path, indices: np.ndarray, progress: Progress) -> Looks:
    """Read the looks of frames; only these are converted, and small.

    Args:
        video: any readable video.
        indices: (n,) rising.
        progress: told of read frames.

    Raises:
        BadInput: if an index is beyond the video.
        BadVideo: if the video cannot be read.
    """
    times = np.zeros(len(indices))
    embeddings: np.ndarray | None = None
    done = 0
    for frame in read_small_frames(video, SMALL_WH, wanted=indices.tolist()):
        embedding = embed(frame.pixels)
        if embeddings is None:
            embeddings = np.zeros((len(indices), len(embedding)), np.float32)
        embeddings[done] = embedding
        times[done] = frame.timestamp
        done += 1
        progress(done, len(indices))
    if embeddings is None or done < len(indices):
        raise BadInput(
            f"Frame {indices[done]} does not exist: {video} has fewer frames than it was "
            "found to have; probe it again."
        )
    return Looks(indices, times, embeddings)
