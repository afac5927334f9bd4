"""The promotion gate as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def gate(
    task_id: str,
    model_name: str,
    version: int,
    dataset: dsl.Input[dsl.Dataset],
    onnx: dsl.Input[dsl.Model],
) -> int:
    """Hold a new version against the one in service, on the same held-out frames.

    Args:
        task_id: whose step report is kept.
        model_name: the registered model.
        version: the new version.
        dataset: its held-out frames decide.
        onnx: the folder with the new version's model.onnx.

    Returns:
        The version to be served: the new one if it earned that, else the one in service.
    """
    from pathlib import Path

    from components.evaluation.promotion import gate as decide
    from components.pipeline_step import pipeline_step

    with pipeline_step("gate", task_id) as step:
        gated = decide(
            model_name,
            version,
            Path(onnx.path) / "model.onnx",
            Path(dataset.path),
            settings=step.settings,
            progress=step.progress,
        )
        step.progress(1, 1, model=model_name, version=version, **gated.facts())
    return gated.version
