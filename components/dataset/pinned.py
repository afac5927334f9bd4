"""The split of a later round: what the first one held out stays held out.

The rule. In time order of the labelled images, those named are the held-out block. Every
other image is dropped that

- lies between the first and the last of them, or
- is one of the ``gap`` share of the labelled images (at least one) next to them on either
  side, or
- is a frame of a video (``frame_000120``) whose index lies no further from theirs than the
  ``gap`` share of the range of all labelled frames' indices, which is about as far as the
  first round's gap reached, however densely later rounds label there.

The rest is for training. Where that leaves fewer images than a training needs, the gap gives
way: the furthest ones are taken after all, but never one from between the held-out ones.
"""

from collections.abc import Collection, Sequence

from components.dataset.split import LEAST_TRAIN
from components.errors import BadInput, BadLabels
from components.video.extract import frame_index


def split_around(stems: Sequence[str], held_out: Collection[str], *, gap: float) -> tuple[str, ...]:
    """The part of each labelled image in time order: ``train``, ``gap`` or ``val``.

    Args:
        stems: of all labelled images, in time order.
        held_out: those that are to be held out; one at least.
        gap: share of the images, or of their range of frames, from 0 to below 1.

    Raises:
        BadInput: for a gap that is no such share.
        BadLabels: if a held-out image is not labelled, or too few images are left to train on.
    """
    if not 0 <= gap < 1:
        raise BadInput(f"A gap of {gap} cannot be used: take a share from 0 to below 1.")
    wanted = frozenset(held_out)
    if lost := sorted(wanted.difference(stems)):
        named = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
        raise BadLabels(
            f"{len(lost)} of the held-out images of the earlier round have no labels now "
            f"({named}): label them again, so that both rounds' models can be compared."
        )
    places = [place for place, stem in enumerate(stems) if stem in wanted]
    first, last = places[0], places[-1]
    outside = [place for place in range(len(stems)) if not first <= place <= last]

    def images_away(place: int) -> int:
        return max(first - place, place - last)

    near = max(round(len(stems) * gap), 1) if gap else 0
    frames_away = _frames_away(stems, first, last)
    reach = gap * _frame_range(stems)
    train = {
        place
        for place in outside
        if images_away(place) > near and (not gap or frames_away[place] > reach)
    }
    if len(train) < LEAST_TRAIN:
        furthest = sorted(outside, key=images_away, reverse=True)
        train |= set(furthest[:LEAST_TRAIN])
    if len(train) < LEAST_TRAIN:
        raise BadLabels(
            f"Beside the {len(places)} held-out images of the earlier round {len(train)} labelled "
            f"images are left, but {LEAST_TRAIN} are needed to train: label more that do not "
            "lie between the held-out ones."
        )
    return tuple(
        "val" if stem in wanted else "train" if place in train else "gap"
        for place, stem in enumerate(stems)
    )


def _frame_range(stems: Sequence[str]) -> int:
    indices = [index for stem in stems if (index := frame_index(stem)) is not None]
    return max(indices) - min(indices) if indices else 0


def _frames_away(stems: Sequence[str], first: int, last: int) -> list[float]:
    """How many frames each image is from the span; infinite where names do not tell."""
    begin, end = frame_index(stems[first]), frame_index(stems[last])
    if begin is None or end is None:
        return [float("inf")] * len(stems)
    indices = [frame_index(stem) for stem in stems]
    return [float("inf") if i is None else max(begin - i, i - end) for i in indices]
