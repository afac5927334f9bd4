"""The pipelines as YAML."""

from pathlib import Path

from components.files import whole_file


def compile_training(target: Path) -> Path:
    """Write the training pipeline's YAML; the same bytes each time.

    Raises:
        StorageFull: when the disk is full.
    """
    from kfp import compiler

    from pipelines.training import training_pipeline

    with whole_file(target) as beside:
        compiler.Compiler().compile(training_pipeline, str(beside))
    return target
