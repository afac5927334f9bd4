"""Labelled objects as the regions of Label Studio's JSON: an annotation's or prediction's result.

A region's place is in percent of the image. A key point names its box as its parent.
"""

from collections.abc import Sequence
from typing import Any

from components.labeling.label_studio.label_config import BOX, HIDDEN, IMAGE, POINT, VISIBILITY
from components.labeling.objects import LabelledObject

Region = dict[str, Any]


def result_of(
    objects: Sequence[LabelledObject], size_wh: tuple[int, int], scores: Sequence[float] = ()
) -> list[Region]:
    """The regions of objects that have boxes; the same ones get the same ids.

    Args:
        size_wh: of the image, pixels.
        scores: of the objects, if a model found them.
    """
    width, height = size_wh
    common = {
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    result: list[Region] = []
    for number, item in enumerate(objects):
        assert item.xyxy is not None  # noqa: S101 - as FrameLabels always have one
        left, top, right, bottom = item.xyxy
        box = {
            "id": f"box{number}",
            "from_name": BOX,
            "type": "rectanglelabels",
            **common,
            "value": {
                "x": 100 * left / width,
                "y": 100 * top / height,
                "width": 100 * (right - left) / width,
                "height": 100 * (bottom - top) / height,
                "rotation": 0,
                "rectanglelabels": [item.name],
            },
        }
        if scores:
            box["score"] = scores[number]
        result.append(box)
        for place, (name, (x, y, visible)) in enumerate(item.keypoints.items()):
            at = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * 4 / width}
            region = {"id": f"box{number}point{place}", **common, "parentID": box["id"]}
            result.append(
                region
                | {
                    "from_name": POINT,
                    "type": "keypointlabels",
                    "value": at | {"keypointlabels": [name]},
                }
            )
            if visible == 1:
                result.append(
                    region
                    | {
                        "from_name": VISIBILITY,
                        "type": "choices",
                        "value": at | {"choices": [HIDDEN]},
                    }
                )
    return result
