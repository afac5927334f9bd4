"""The deployment step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def deploy(
    task_id: str,
    model_name: str,
    registered: int,
    version: int,
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Set the champion's alias and wait until Triton really serves that version.

    Args:
        task_id: whose step report is kept.
        model_name: the registered model.
        registered: the version that the pipeline has made.
        version: the version that the gate chose; if it is another, nothing is promoted.
        summary: which version is served, and the ways to it and its run in MLflow.
    """
    from pathlib import Path

    from components.files import write_text
    from components.finished import forget_finished
    from components.pipeline_step import pipeline_step
    from components.registry.gate_tags import read_gate_reason
    from components.registry.pages import run_of_version, run_page, version_markdown, version_page
    from components.serving.deploy import deploy as deploy_version
    from components.serving.deploy import keep_champion

    with pipeline_step("deploy", task_id) as step:
        settings, progress = step.settings, step.progress
        timeout = settings.promotion_timeout
        promoted = version == registered
        if promoted:
            deploy_version(
                model_name,
                version,
                settings=settings,
                timeout=timeout,
                progress=progress,
                patience=step.patience,
            )
            served, reason = version, ""
        else:
            served = keep_champion(
                model_name, settings=settings, timeout=timeout, patience=step.patience
            )
            reason = step.patience(
                lambda: read_gate_reason(model_name, registered, tracking_uri=settings.mlflow_uri)
            )
        title = f"Version {served} of {model_name} is served"
        url = run_page(run_of_version(model_name, served, settings), settings)
        write_text(
            Path(summary.path),
            version_markdown(title, model_name, served, settings, run_url=url, words=reason),
        )
        summary.metadata |= {
            "model": model_name,
            "version": str(served),
            "mlflow_version": version_page(model_name, served, settings),
            "mlflow_run": url,
        }
        forget_finished(step, task_id)
        why = {} if promoted else {"reason": reason}
        progress(1, 1, model=model_name, version=served, promoted=promoted, **why)
