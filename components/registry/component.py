"""The registration step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def register(
    task_id: str,
    model_name: str,
    model: dsl.Input[dsl.Model],
    onnx: dsl.Input[dsl.Model],
    summary: dsl.Output[dsl.Markdown],
) -> int:
    """Register the ONNX file as a model version, with its lineage and its parity set.

    Args:
        task_id: stands as a tag on the version.
        model_name: the registered model.
        model: the folder with training.json, which names the run.
        onnx: the folder with model.onnx, parity.json and parity_set/.
        summary: the ways to the version and its run in MLflow.

    Returns:
        The version.
    """
    from pathlib import Path

    from components.files import write_text
    from components.pipeline_step import pipeline_step
    from components.registry.pages import run_page, version_markdown, version_page
    from components.registry.register import register_model
    from components.training.result import read_training

    with pipeline_step("register", task_id) as step:
        trained = read_training(Path(model.path))
        version = step.patience(
            lambda: register_model(
                Path(onnx.path),
                name=model_name,
                run_id=trained.run_id,
                tracking_uri=step.settings.mlflow_uri,
                metrics=trained.metrics,
                dataset_digest=trained.dataset_digest,
                tags={"task_id": task_id},
            )
        )
        url = run_page(trained.run_id, step.settings)
        title = f"Version {version} of {model_name} is registered"
        page = version_markdown(title, model_name, version, step.settings, run_url=url)
        write_text(Path(summary.path), page)
        summary.metadata |= {
            "model": model_name,
            "version": str(version),
            "mlflow_version": version_page(model_name, version, step.settings),
            "mlflow_run": url,
        }
        step.progress(1, 1, model=model_name, version=version)
    return version
