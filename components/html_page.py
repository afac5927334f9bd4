"""Small self-contained HTML pages, as Kubeflow Pipelines shows them beside a step.

Its UI puts a page into a sandboxed frame: nothing may come from elsewhere, and a click on a
link opens nothing, so that an address stands there to be read too. Pages are trees of
elements, never glued text: what a user has named (a class, a model, a file) is escaped
because there is no other way to put it in.
"""

import math
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, tostring

__all__ = ["Element", "card", "element", "facts", "html_page", "link", "markdown_text", "table"]

# The colours of the gateway's own page; --one and --two tell a chart's series apart.
_STYLE = """
:root {
  --page: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #59636e; --line: #d5dae0;
  --link: #0b5cad; --good: #1a7f37; --bad: #b3261e; --one: #2470c8; --two: #c2570c;
  color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --card: #1b2128; --text: #e6eaee; --soft: #9aa7b4; --line: #333c46;
    --link: #6cb6ff; --good: #57c46f; --bad: #ff8a80; --one: #5aa2f0; --two: #ef8f4a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--page); color: var(--text);
}
html { background: var(--page); }
h1 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
h3 { font-size: .95rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
.soft { color: var(--soft); font-size: .875rem; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.verdict { border-left: .3rem solid; padding: .5rem .8rem; background: var(--card); }
.verdict span { color: var(--text); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem; min-width: 0; }
.grid { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .6rem 0; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; overflow-wrap: break-word; max-width: 16rem; }
.number { display: block; text-align: right; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.key { display: inline-block; width: .9rem; height: .2rem; margin: 0 .35rem .2rem 0;
  vertical-align: middle; border-radius: .1rem; }
.keys { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.one { background: var(--one); } .two { background: var(--two); }
summary { cursor: pointer; padding: .4rem 0; }
"""

# The last line of defence: were a page ever to hold a script or an address, neither would load.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$])")


def element(tag: str, *children: Element | str | float | None, **attributes: object) -> Element:
    """An element with its children in order; None is left out.

    Attributes: ``class_`` is ``class``, and ``stroke_width`` is ``stroke-width``.
    """
    made = Element(tag)
    for name, value in attributes.items():
        made.set(name.rstrip("_").replace("_", "-"), _sound(str(value)))
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + _sound(str(child))
        else:
            last.tail = (last.tail or "") + _sound(str(child))
    return made


def _sound(text: str) -> str:
    """Text that UTF-8 can hold, without the control characters that HTML forbids."""
    text = "".join(sign if sign >= " " or sign in "\t\n" else " " for sign in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def html_page(title: str, *content: Element | None) -> str:
    """A whole document with the title as its heading."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http_equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _STYLE),
    )
    body = element("body", element("h1", title), *content)
    document = element("html", head, body, lang="en")
    return f"<!DOCTYPE html>\n{tostring(document, encoding='unicode', method='html')}\n"


def link(url: str, text: str) -> Element:
    """A link with its address beneath; without an http(s) address the text alone."""
    if urlsplit(url).scheme not in ("http", "https"):
        return element("span", text)
    opened = element("a", text, href=url, target="_blank", rel="noopener noreferrer")
    return element("span", opened, element("br"), element("span", url, class_="soft"))


def facts(pairs: Iterable[tuple[str, Element | str | float]]) -> Element:
    """Named values in a row."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in pairs),
        class_="facts",
    )


def card(title: str, *content: Element | None) -> Element:
    """A box with a heading of its own."""
    return element("section", element("h3", title), *content, class_="card")


def table(
    head: Sequence[str], rows: Iterable[Sequence[Element | str | float]], caption: str = ""
) -> Element:
    """A table that scrolls by itself where it is too wide; numbers stand to the right."""
    return element(
        "div",
        element("p", caption, class_="soft") if caption else None,
        element(
            "table",
            element("thead", element("tr", *(element("th", name) for name in head))),
            element("tbody", *(element("tr", *map(_cell, row)) for row in rows)),
        ),
        class_="scroll",
    )


def _cell(value: Element | str | float) -> Element:
    shown = (
        element("span", number(value), class_="number")
        if isinstance(value, (int, float))
        else value
    )
    return element("td", shown)


def number(value: float, digits: int = 4) -> str:
    """A number to read: counts whole, others with so many significant digits."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}g}" if math.isfinite(value) else "not a number"


def markdown_text(text: str) -> str:
    """Text as it is for a Markdown page, also within a table: no sign of it means anything."""
    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(_sound(text).split()))
