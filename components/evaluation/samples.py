"""What a model finds in held-out frames, as a page: labels beside findings, and the confusion.

Each frame is a JPEG that stands in the page once and is shown twice; boxes and key points
lie over it as SVG, so that they are sharp and names are legible in any script.
"""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from components.detections import Detections
from components.evaluation.confusion import CONFIDENCE, IOU, ConfusionMatrix
from components.evaluation.held_out import HeldOutLook, Sample
from components.html_page import Element, card, element, html_page, link, table
from components.results.drawing import identity_colour

MOST_BYTES = 1_500_000
_MOST_OBJECTS = 40
_MOST_CLASSES = 24
_LONGEST_NAME = 24
_SURE = 0.5
# Long side and JPEG quality; the next one is taken where the page would be too large.
_QUALITIES = ((560, 80), (420, 70), (300, 60), (200, 50))


def samples_page(look: HeldOutLook, names: Sequence[str], *, run_url: str = "") -> str:
    """The page; it has at most 1.5 million bytes, for which pictures are made smaller or fewer."""
    samples = list(look.samples)
    for side, quality in _QUALITIES:
        page = _page(look, samples, names, run_url, side, quality)
        if len(page.encode()) <= MOST_BYTES:
            return page
    while samples and (size := len(page.encode())) > MOST_BYTES:
        samples = samples[: min(len(samples) - 1, len(samples) * MOST_BYTES // size)]
        page = _page(look, samples, names, run_url, *_QUALITIES[-1])
    return page


def _page(
    look: HeldOutLook,
    samples: Sequence[Sample],
    names: Sequence[str],
    run_url: str,
    side: int,
    quality: int,
) -> str:
    frames = f"{look.frames} held-out frames"
    if look.held_out > look.frames:
        frames = f"{look.frames} of {look.held_out} held-out frames, evenly spread"
    doubt = None
    if words := _doubt(look):
        doubt = element("p", element("span", words), class_="verdict bad")
    return html_page(
        "The model on frames that it never saw",
        element(
            "p",
            f"{frames}. A dashed box has no partner on the other side: it was missed, or is "
            "not there.",
            class_="soft",
        ),
        doubt,
        element("p", link(run_url, "The run in MLflow")) if run_url else None,
        element("h2", "Labelled, and found as"),
        _confusion(look.confusion),
        element("h2", f"{len(samples)} of the frames" if samples else "No frame could be shown"),
        element(
            "div",
            *(_figure(one, number, names, side, quality) for number, one in enumerate(samples)),
            class_="grid wide",
        ),
    )


def _doubt(look: HeldOutLook) -> str:
    if look.confidence < CONFIDENCE:
        return (
            f"Nothing reaches a confidence of {CONFIDENCE:g}: the model has learnt too little. "
            f"The pictures show what is above {look.confidence:g}."
        )
    counts = look.confusion.counts
    if counts[:, -1].any() and not counts[:, :-1].any():
        return "The model finds nothing at all in them: it has learnt too little."
    return ""


def _confusion(confusion: ConfusionMatrix) -> Element:
    counts, categories = confusion.counts, confusion.categories
    occurs = [i for i in range(len(categories)) if counts[i].any() or counts[:, i].any()]
    shown = sorted(sorted(occurs, key=lambda i: -int(counts[i].sum()))[:_MOST_CLASSES])
    if not shown:
        return element("p", "Nothing is labelled in them, and nothing was found.", class_="soft")
    last = len(categories) - 1

    def heading(i: int, otherwise: str) -> str:
        return otherwise if i == last else categories[i]

    rows: list[list[Element | str | float]] = []
    for i in shown:
        most = max(int(counts[i].sum()), 1)
        cells = [_tinted(int(counts[i, j]), most, good=i == j) for j in shown]
        rows.append([element("strong", heading(i, "nothing")), *cells])
    left_out = len(occurs) - len(shown)
    caption = (
        f"Rows: labelled. Columns: found, above a confidence of {CONFIDENCE:g}, with an overlap \
above {IOU:g}."
    )
    if left_out:
        caption += f" {left_out} rarer classes are not shown."
    return table(["", *(heading(j, "missed") for j in shown)], rows, caption)


def _tinted(count: int, most: int, *, good: bool) -> Element:
    share = round(100 * min(count / most, 1) * 0.45)
    colour = "var(--good)" if good else "var(--bad)"
    style = f"display:block;text-align:right;padding:0 .3rem;border-radius:.2rem;background:\
color-mix(in srgb, {colour} {share}%, transparent)"
    return element("span", str(count) if count else "·", style=style)


def _figure(one: Sample, number: int, names: Sequence[str], side: int, quality: int) -> Element:
    height, width = one.picture_bgr.shape[:2]
    anchor = f"frame{number}"
    image = element(
        "image",
        id=anchor,
        href=_data_uri(one.picture_bgr, side, quality),
        width=width,
        height=height,
        preserveAspectRatio="none",
    )
    again = element("use", href=f"#{anchor}")
    missed, extra = int(one.missed.sum()), int(one.extra.sum())
    said = f"{len(one.truth)} labelled, {len(one.found)} found"
    said += f", {missed} missed" if missed else ""
    said += f", {extra} too many" if extra else ""
    return card(
        one.name,
        element("p", said, class_="soft"),
        element(
            "div",
            _pane("labelled", image, one, one.truth, one.missed, names, scores=False),
            _pane("found", again, one, one.found, one.extra, names, scores=True),
            style="display:grid;gap:.4rem;"
            "grid-template-columns:repeat(auto-fit,minmax(min(12rem,100%),1fr))",
        ),
    )


def _data_uri(picture_bgr: np.ndarray, side: int, quality: int) -> str:
    scale = min(1.0, side / max(picture_bgr.shape[:2]))
    if scale < 1:
        wh = [max(1, round(length * scale)) for length in picture_bgr.shape[1::-1]]
        picture_bgr = cv2.resize(picture_bgr, wh, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode('ascii')}"


def _pane(
    title: str,
    image: Element,
    one: Sample,
    objects: Detections,
    lonely: np.ndarray,
    names: Sequence[str],
    *,
    scores: bool,
) -> Element:
    height, width = one.picture_bgr.shape[:2]
    # What is drawn is sized for a pane of some 220 pixels, whatever the picture has.
    unit = max(width, height) / 220
    drawn: list[Element] = []
    for index in range(min(len(objects), _MOST_OBJECTS)):
        drawn += _object(objects, index, bool(lonely[index]), names, unit, width, scores)
    more = len(objects) - _MOST_OBJECTS
    return element(
        "figure",
        element(
            "svg",
            element("title", f"{one.name}, {title}"),
            image,
            *drawn,
            viewBox=f"0 0 {width} {height}",
            style="overflow:hidden",
        ),
        element("figcaption", title + (f", {more} more" if more > 0 else ""), class_="soft"),
        style="margin:0;min-width:0",
    )


def _object(
    objects: Detections,
    index: int,
    lonely: bool,
    names: Sequence[str],
    unit: float,
    width: int,
    scores: bool,
) -> list[Element]:
    class_id = int(objects.class_ids[index])
    blue, green, red = identity_colour("", class_id)
    colour = f"rgb({red},{green},{blue})"
    x1, y1, x2, y2 = (round(float(value), 1) for value in np.nan_to_num(objects.xyxy[index]))
    name = names[class_id] if class_id < len(names) else str(class_id)
    text = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    if scores:
        text += f" {objects.scores[index]:.2f}"
    above = y1 > 12 * unit
    at_right = x1 > 0.6 * width
    drawn = [
        element(
            "rect",
            element("title", text),
            x=x1,
            y=y1,
            width=round(max(x2 - x1, 0), 1),
            height=round(max(y2 - y1, 0), 1),
            fill="none",
            stroke=colour,
            stroke_width=round(1.6 * unit, 2),
            **({"stroke_dasharray": f"{5 * unit:.1f} {3 * unit:.1f}"} if lonely else {}),
        )
    ]
    drawn += _points(objects.keypoints[index], colour, unit)
    drawn.append(
        element(
            "text",
            text,
            x=x2 if at_right else x1,
            y=round(y1 - 3 * unit if above else y2 + 10 * unit, 1),
            text_anchor="end" if at_right else "start",
            style=f"font-size:{9 * unit:.1f}px;fill:#fff;stroke:#000;"
            f"stroke-width:{2 * unit:.1f}px;paint-order:stroke",
        )
    )
    return drawn


def _points(points: np.ndarray, colour: str, unit: float) -> list[Element]:
    """Full dots for key points that are surely seen, small ones for the others."""
    labelled = points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0)] if len(points) else []
    drawn = []
    for sure, size in ((True, 5.0), (False, 2.5)):
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y, s in labelled if (s > _SURE) == sure)
        if path:
            drawn += [
                element(
                    "path",
                    d=path,
                    stroke=stroke,
                    stroke_width=round((size + wider) * unit, 2),
                    stroke_linecap="round",
                )
                for stroke, wider in (("#000", 1.5), (colour, 0.0))
            ]
    return drawn
