"""Line and bar charts as inline SVG: a few kilobytes, sharp on any screen, dark or light.

They are for pages that may load nothing and run no script, and are made in images that have
no drawing library. Figures that are not finite are gaps.
"""

import math
from collections.abc import Mapping, Sequence

from components.html_page import Element, element, number

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 348, 18, 166
_COLOURS = ("one", "two")
MOST_POINTS = 400
_HOVERED_POINTS = 120


def _position(share: float, low: float, high: float) -> float:
    return round(low + share * (high - low), 1)


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten; 1 for what is not above 0."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999))


def legend(names: Sequence[str]) -> Element:
    """Which colour stands for what."""
    return element(
        "div",
        *(
            element("span", element("span", class_=f"key {colour}"), name)
            for name, colour in zip(names, _COLOURS, strict=False)
        ),
        class_="keys soft",
    )


def thinned(count: int, keep: int = -1) -> list[int]:
    """At most some four hundred of ``count`` places, the last and ``keep`` among them."""
    every = max(1, -(-count // MOST_POINTS))
    places = {*range(0, count, every), count - 1, *([keep] if 0 <= keep < count else [])}
    return sorted(places - {-1})


def line_chart(
    x: Sequence[int],
    series: Mapping[str, Sequence[float]],
    *,
    what: str,
    top: float | None = None,
    mark: int | None = None,
    mark_name: str = "",
) -> Element:
    """One or two series over whole numbers, from 0 up.

    Args:
        x: rising, one for each value.
        series: by name; as long as ``x``.
        what: said to those who do not see it.
        top: the greatest value of the axis; by default a round one above all values.
        mark: the x of a vertical line.
        mark_name: what stands at it.
    """
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    top = top or round_up(max(finite, default=1.0))
    bottom = min(0.0, -round_up(-min(finite))) if min(finite, default=0.0) < 0 else 0.0
    first, last = (x[0], x[-1]) if x else (0, 1)

    def across(value: int) -> float:
        share = (value - first) / (last - first) if last > first else 0.5
        return _position(share, _LEFT, _RIGHT)

    def up(value: float) -> float:
        return _position((value - bottom) / (top - bottom), _BOTTOM, _TOP)

    parts: list[Element] = [element("title", what)]
    for level in (bottom, (bottom + top) / 2, top):
        y = up(level)
        parts += [
            element("path", d=f"M{_LEFT} {y}H{_RIGHT}", stroke="var(--line)"),
            element("text", f"{level:.3g}", x=_LEFT - 6, y=y + 4, text_anchor="end"),
        ]
    ends = ((first, "start"), (last, "end")) if last > first else ((first, "middle"),)
    for value, anchor in ends:
        at = across(value)
        parts.append(element("text", str(value), x=at, y=_BOTTOM + 18, text_anchor=anchor))
    if mark is not None and x and first <= mark <= last:
        at = across(mark)
        anchor = "end" if at > (_LEFT + _RIGHT) / 2 else "start"
        parts += [
            element(
                "path",
                d=f"M{at} {_TOP - 12}V{_BOTTOM}",
                stroke="var(--soft)",
                stroke_dasharray="3 3",
            ),
            element(
                "text",
                mark_name,
                x=at + (-5 if anchor == "end" else 5),
                y=_TOP - 5,
                text_anchor=anchor,
            ),
        ]
    places = thinned(len(x), x.index(mark) if mark in x else -1)
    for (name, values), colour in zip(series.items(), _COLOURS, strict=False):
        dots = [(x[i], values[i]) for i in places]
        parts.append(
            element(
                "path",
                d=_path([(across(a), up(b) if math.isfinite(b) else b) for a, b in dots]),
                fill="none",
                stroke=f"var(--{colour})",
                stroke_width=2,
                stroke_linejoin="round",
                stroke_linecap="round",
            )
        )
        if len(dots) <= _HOVERED_POINTS:
            parts += [
                element(
                    "circle",
                    element("title", f"{name}, {a}: {number(b)}"),
                    cx=across(a),
                    cy=up(b),
                    r=5,
                    fill="transparent",
                )
                for a, b in dots
                if math.isfinite(b)
            ]
    return _svg(parts, what)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A line that is broken where a value is not finite; a point alone is a dot."""
    steps, drawn = [], False
    for x, y in points:
        if math.isfinite(y):
            steps.append(f"{'L' if drawn else 'M'}{x} {y}" + ("" if drawn else "h0"))
        drawn = math.isfinite(y)
    return "".join(steps) or "M0 0"


def bar_chart(
    values: Sequence[tuple[str, float]], *, what: str, allowed: float | None = None
) -> Element:
    """One bar a value, from 0 up; those above ``allowed``, or not finite, in the colour of a fault.

    Args:
        values: names, which show at the pointer, and values of 0 or more.
        what: said to those who do not see it.
        allowed: a limit, drawn as a line.
    """
    finite = [value for _, value in values if math.isfinite(value)]
    top = round_up(max([*finite, *([allowed] if allowed else [])], default=1.0))
    parts = [element("title", what)]
    for level in (0.0, top / 2, top):
        y = _position(level / top, _BOTTOM, _TOP)
        parts += [
            element("path", d=f"M{_LEFT} {y}H{_RIGHT}", stroke="var(--line)"),
            element("text", f"{level:.3g}", x=_LEFT - 6, y=y + 4, text_anchor="end"),
        ]
    step = (_RIGHT - _LEFT) / max(len(values), 1)
    for index, (name, value) in enumerate(values):
        fault = not math.isfinite(value) or (allowed is not None and value > allowed)
        share = value / top if math.isfinite(value) else 1.0
        y = min(_position(share, _BOTTOM, _TOP), _BOTTOM - 1)
        parts.append(
            element(
                "rect",
                element("title", f"{name}: {number(value)}"),
                x=round(_LEFT + (index + 0.15) * step, 2),
                y=y,
                width=round(min(0.7 * step, 40), 2),
                height=round(_BOTTOM - y, 1),
                fill=f"var(--{'bad' if fault else 'one'})",
            )
        )
    if allowed is not None:
        y = _position(allowed / top, _BOTTOM, _TOP)
        parts += [
            element(
                "path", d=f"M{_LEFT} {y}H{_RIGHT}", stroke="var(--bad)", stroke_dasharray="4 3"
            ),
            element("text", f"allowed: {allowed:g}", x=_RIGHT, y=y - 4, text_anchor="end"),
        ]
    return _svg(parts, what)


def paired_bars(rows: Sequence[tuple[str, float, float]], *, what: str) -> Element:
    """Two values of 0 to 1 beneath each other for each name."""
    height = 34
    parts = [element("title", what)]
    for index, (name, one, two) in enumerate(rows):
        y = index * height + 4
        parts.append(element("text", name, x=0, y=y + 16))
        for place, (value, colour) in enumerate(zip((one, two), _COLOURS, strict=True)):
            if not math.isfinite(value):
                continue
            width = round(max(0.0, min(value, 1.0)) * 180, 1)
            parts += [
                element(
                    "rect",
                    element("title", f"{name}: {number(value)}"),
                    x=126,
                    y=y + place * 13,
                    width=max(width, 1),
                    height=11,
                    fill=f"var(--{colour})",
                ),
                element("text", f"{value:.3f}", x=132 + width, y=y + place * 13 + 10),
            ]
    return _svg(parts, what, height=len(rows) * height + 4)


def _svg(parts: Sequence[Element], what: str, height: int = _HEIGHT) -> Element:
    return element(
        "svg", *parts, viewBox=f"0 0 {_WIDTH} {height}", role="img", **{"aria_label": what}
    )
