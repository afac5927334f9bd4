"""What every page of ours must be: whole, escaped, and without anything from elsewhere."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "br", "img"}
NASTY = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
"""A name that a user may give."""

_ADDRESS = re.compile(r"(?:https?:)?//[^\s\"'<>]+|url\(|@import|javascript:", re.IGNORECASE)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data


def read_page(page: str, *links: str) -> tuple[list[tuple[str, dict[str, str | None]]], str]:
    """The elements and the text of a page that is well-formed and loads nothing.

    Args:
        page: the HTML.
        links: the addresses that it may lead to.
    """
    assert page.startswith("<!DOCTYPE html>\n<html")
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open, f"{reader.open} are not closed"
    assert not _ADDRESS.search(reader.style)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in reader.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("href", "src", "xlink:href"):
                if tag == "a":
                    assert value in links, f"a link leads to {value}"
                else:
                    assert (value or "").startswith(("data:image/jpeg;base64,", "#"))
            elif name == "style":
                assert not _ADDRESS.search(value or "")
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    # Each drawing is sound by itself.
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert not re.search(r'="[^"]*\b(?:nan|inf)\b', drawing), "a figure was drawn nowhere"
    return reader.tags, reader.text
