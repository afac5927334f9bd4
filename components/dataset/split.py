"""How labelled frames are split: by blocks of time, so that near-twins do not face each other."""

from dataclasses import dataclass

from components.errors import BadInput, BadLabels

LEAST_TRAIN, LEAST_HELD_OUT = 2, 1
LEAST_FRAMES = LEAST_TRAIN + LEAST_HELD_OUT


@dataclass(frozen=True)
class BlockSplit:
    """Frames in time order: ``train`` first, then ``gap``, which nobody sees, then ``held_out``."""

    train: int
    gap: int
    held_out: int

    def parts(self) -> tuple[str, ...]:
        """The part of each frame in time order: ``train``, ``gap`` or ``val``."""
        return ("train",) * self.train + ("gap",) * self.gap + ("val",) * self.held_out


def split_by_time(frames: int, *, held_out: float, gap: float) -> BlockSplit:
    """Split ``frames`` labelled frames.

    Each share is rounded, and is at least one frame (none where ``gap`` is 0). Where there are
    few frames the gap gives way first, then the held-out block.

    Args:
        frames: how many there are.
        held_out: share of them that the model must never see, above 0 and below 1.
        gap: share dropped between the two blocks, from 0 to below 1.

    Raises:
        BadInput: if the shares leave nothing to train on.
        BadLabels: if there are too few frames.
    """
    if not 0 < held_out < 1 or not 0 <= gap < 1 or held_out + gap >= 1:
        raise BadInput(
            f"A held-out share of {held_out} and a gap of {gap} cannot be used: "
            "take shares above 0 (the gap may be 0) that leave something to train on."
        )
    if frames < LEAST_FRAMES:
        raise BadLabels(
            f"There are {frames} labelled images, but at least {LEAST_FRAMES} are needed "
            f"({LEAST_TRAIN} to train, {LEAST_HELD_OUT} held out): label more."
        )
    last = min(max(round(frames * held_out), LEAST_HELD_OUT), frames - LEAST_TRAIN)
    between = min(max(round(frames * gap), 1), frames - LEAST_TRAIN - last) if gap else 0
    return BlockSplit(train=frames - between - last, gap=between, held_out=last)
