"""The pipelines as YAML."""

import threading
from pathlib import Path

from components.errors import BadInput
from components.files import whole_file
from components.image_tags import checked_image_tag
from components.settings import Settings
from pipelines.backend import PipelineName
from pipelines.names import check_names

# KFP keeps the pipeline that is being defined in a variable of its own.
_DEFINING = threading.Lock()


def compile_pipeline(name: PipelineName, target: Path, settings: Settings) -> Path:
    """Write a pipeline's YAML; the same settings give the same bytes each time.

    Args:
        name: ``training`` or ``analysis``.
        target: the file; it appears whole.
        settings: images, resources and names of Secrets; none of their values is written.

    Returns:
        ``target``.

    Raises:
        BadInput: for another name, an image tag that names no version, or a setting that
            cannot be used in a pipeline.
        StorageFull: when the disk is full.
    """
    from kfp import compiler

    from pipelines.analysis import analysis_pipeline
    from pipelines.training import training_pipeline

    pipelines = {"training": training_pipeline, "analysis": analysis_pipeline}
    if name not in pipelines:
        raise BadInput(f"There is no pipeline {name!r}: name one of {', '.join(pipelines)}.")
    checked_image_tag(settings.image_tag)
    check_names(settings)
    with whole_file(target) as beside, _DEFINING:
        pipeline = pipelines[name](settings)
        compiler.Compiler().compile(pipeline, str(beside))
    return target
