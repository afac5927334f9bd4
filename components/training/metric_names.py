"""The names under which a training's figures are tracked.

Ultralytics says ``metrics/mAP50(B)`` of boxes and ``(P)`` of key points; MLflow takes no
parentheses in a name. Tracked are:

| name | meaning |
|---|---|
| train/box_loss, cls_loss, dfl_loss (pose: also pose_loss, kobj_loss …) | mean of the epoch |
| val/… | the same on the held-out block |
| metrics/precision, recall, mAP50, mAP50-95 | boxes on the held-out block |
| metrics/pose_precision, pose_recall, pose_mAP50, pose_mAP50-95 | key points on it |
| lr/pg0, lr/pg1 … | learning rate of each group of parameters |
| best/mAP50 … | of the model that is kept, once, at its epoch |
| dataset/leak | once; see components.dataset.leak |
"""

import math
import re
from collections.abc import Mapping
from typing import SupportsFloat

_SUBJECT = re.compile(r"^(?P<group>.*/)?(?P<name>[^/()]+)\((?P<subject>[BP])\)$")
_METRICS = "metrics/"


def clean_name(name: str) -> str:
    """One of Ultralytics' names as a name that MLflow takes."""
    if match := _SUBJECT.match(name):
        prefix = "pose_" if match["subject"] == "P" else ""
        name = f"{match['group'] or ''}{prefix}{match['name']}"
    return re.sub(r"[^\w\-. /]", "_", name)


def clean_metrics(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """Clean names to plain floats; what is not a finite number is left out."""
    numbers = {clean_name(name): float(value) for name, value in metrics.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def held_out_metrics(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """Of a validation's figures those that tell how good the model is: ``mAP50`` and so on."""
    return {
        name.removeprefix(_METRICS): value
        for name, value in clean_metrics(metrics).items()
        if name.startswith(_METRICS)
    }
