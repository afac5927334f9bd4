"""The deployment step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().pipeline_image, install_kfp_package=False)
def deploy(task_id: str, model_name: str, version: int) -> None:
    """Set the champion's alias and wait until Triton really serves that version.

    Args:
        task_id: whose step report is kept.
        model_name: the registered model.
        version: the version that is to be served.
    """
    from components.serving.deploy import deploy as deploy_version
    from components.settings import Settings
    from components.steps import reported

    settings = Settings()
    with reported("deploy", settings.layout.step_reports(task_id)) as progress:
        deploy_version(
            model_name,
            version,
            settings=settings,
            timeout=settings.promotion_timeout,
            progress=progress,
        )
        progress(1, 1, model=model_name, version=version)
