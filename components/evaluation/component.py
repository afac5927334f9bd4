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
    decision: dsl.Output[dsl.Markdown],
    comparison: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> int:
    """Hold a new version against the one in service, on the same held-out frames.

    Args:
        task_id: whose step report is kept.
        model_name: the registered model.
        version: the new version.
        dataset: its held-out frames decide.
        onnx: the folder with the new version's model.onnx.
        decision: what was decided, why, and the way to the version in MLflow.
        comparison: the same, drawn.
        metrics: the figures of both sides.

    Returns:
        The version to be served: the new one if it earned that, else the one in service.
    """
    from pathlib import Path

    from components.evaluation.comparison import gate_markdown, gate_metrics, gate_page
    from components.evaluation.promotion import gate as decide
    from components.files import write_text
    from components.pipeline_step import pipeline_step
    from components.registry.pages import version_page

    with pipeline_step("gate", task_id) as step:
        gated = step.patience(
            lambda: decide(
                model_name,
                version,
                Path(onnx.path) / "model.onnx",
                Path(dataset.path),
                settings=step.settings,
                progress=step.progress,
            )
        )
        url = version_page(model_name, version, step.settings)
        write_text(Path(decision.path), gate_markdown(model_name, version, gated, version_url=url))
        write_text(Path(comparison.path), gate_page(model_name, version, gated, version_url=url))
        for name, value in gate_metrics(gated).items():
            metrics.log_metric(name, value)
        decision.metadata |= {"model": model_name, "version": str(version), "mlflow_version": url}
        step.progress(1, 1, model=model_name, version=version, **gated.facts())
    return gated.version
