"""The gateway's steps: each calls the step's own function in ``components`` for one task."""

from collections.abc import Callable
from typing import Any

from gateway.steps import analysis, deployment, labeling, results, video
from gateway.steps.context import StepContext

FUNCTIONS: dict[str, Callable[[StepContext], dict[str, Any]]] = {
    "download": video.download,
    "validate": video.validate,
    "convert": video.convert,
    "extract": video.extract,
    "deliver_video": video.deliver_video,
    "deliver_frames": video.deliver_frames,
    "preannotate": analysis.preannotate,
    "labeling": labeling.request_labels,
    "labels": labeling.take_labels,
    "import_labels": labeling.import_labels,
    "register": deployment.register,
    "bring": deployment.bring,
    "deploy": deployment.deploy,
    "analyse": analysis.analyse,
    "csv": results.write_csv,
    "json": results.write_json,
    "chunks": results.keep_chunks,
    "overlay": results.write_overlay,
    "notebook": results.write_notebook,
    "results": results.settle,
}
