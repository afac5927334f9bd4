"""Label Studio's labelling configuration of a task, and the names that one holds."""

import colorsys
import re
from collections.abc import Sequence
from html import escape

from defusedxml import ElementTree  # type: ignore[import-untyped]

from components.errors import BadLabels

IMAGE, BOX, POINT, VISIBILITY, HIDDEN = "image", "box", "point", "visibility", "hidden"
"""What the parts of the configuration are called; results name them."""

# Those that Label Studio gives by itself, in its order; it keeps the others for its tools.
_DIGITS, _LETTERS = "1234567890", "qwetasdfgzxcvbyiopjklnm"

_GOLDEN = 0.618034  # of the circle of hues, so that neighbours differ however many there are

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def label_config(names: Sequence[str], keypoints: Sequence[str] = ()) -> str:
    """Boxes with the classes, and key points, each of which may be marked as hidden.

    Raises:
        BadLabels: for a name that XML cannot hold.
    """
    lines = [
        "<View>",
        # A turned box is none that a model learns.
        f'  <RectangleLabels name="{BOX}" toName="{IMAGE}" canRotate="false" strokeWidth="2"'
        ' opacity="0.15">',
        *_labels(names, _DIGITS, first_hue=0),
        "  </RectangleLabels>",
    ]
    if keypoints:
        lines += [
            f'  <KeyPointLabels name="{POINT}" toName="{IMAGE}" strokeWidth="3" opacity="0.9">',
            *_labels(keypoints, _LETTERS, first_hue=0.3),
            "  </KeyPointLabels>",
            f'  <Choices name="{VISIBILITY}" toName="{IMAGE}" perRegion="true"'
            f' whenTagName="{POINT}" choice="multiple">',
            f'    <Choice value="{HIDDEN}"/>',
            "  </Choices>",
        ]
    # The labels stand above the image: a large one would push them off the screen.
    image = (
        f'  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"'
        ' rotateControl="false"/>'
    )
    return "\n".join([*lines, image, "</View>"])


def _labels(names: Sequence[str], keys: str, *, first_hue: float) -> list[str]:
    lines = []
    for index, name in enumerate(names):
        if _NO_XML.search(name):
            raise BadLabels(
                f"The name {name!r} holds a character that Label Studio cannot: name it anew."
            )
        rgb = colorsys.hsv_to_rgb((first_hue + index * _GOLDEN) % 1, 0.85, 0.95)
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
        # A '$' would stand for a field of the task's data; an alias is taken as it is.
        alias = f' alias="{_escaped(name)}"' if "$" in name else ""
        hotkey = f' hotkey="{keys[index]}"' if index < len(keys) else ""
        shown = _escaped(name.replace("$", "\N{FULLWIDTH DOLLAR SIGN}"))
        lines.append(f'    <Label value="{shown}"{alias} background="{colour}"{hotkey}/>')
    return lines


def _escaped(text: str) -> str:
    return re.sub("[\t\n\r]", lambda found: f"&#{ord(found[0])};", escape(text, quote=True))


def names_of(config: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes and the key points that a configuration names, also one that people changed.

    Raises:
        BadLabels: if it cannot be read.
    """
    try:
        root = ElementTree.fromstring(config)
    # What defusedxml refuses is a ValueError; an encoding that nobody knows a LookupError.
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadLabels(
            f"The project's labelling configuration cannot be read ({error}): mend it in Label "
            "Studio's settings."
        ) from error
    boxes, points = (
        tuple(
            label.get("alias") or label.get("value", "")
            for parent in root.iter(kind)
            for label in parent.iter("Label")
        )
        for kind in ("RectangleLabels", "KeyPointLabels")
    )
    return boxes, points
