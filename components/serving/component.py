"""The deployment step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def deploy(task_id: str, model_name: str, registered: int, version: int) -> None:
    """Set the champion's alias and wait until Triton really serves that version.

    Args:
        task_id: whose step report is kept.
        model_name: the registered model.
        registered: the version that the pipeline has made.
        version: the version that the gate chose; if it is another, nothing is promoted.
    """
    from components.pipeline_step import pipeline_step
    from components.registry.gate_tags import read_gate_reason
    from components.serving.deploy import deploy as deploy_version
    from components.serving.deploy import keep_champion

    with pipeline_step("deploy", task_id) as step:
        settings, progress = step.settings, step.progress
        timeout = settings.promotion_timeout
        if version == registered:
            deploy_version(
                model_name, version, settings=settings, timeout=timeout, progress=progress
            )
            progress(1, 1, model=model_name, version=version, promoted=True)
        else:
            kept = keep_champion(model_name, settings=settings, timeout=timeout)
            reason = read_gate_reason(model_name, registered, tracking_uri=settings.mlflow_uri)
            progress(1, 1, model=model_name, version=kept, promoted=False, reason=reason)
