"""The exit handler as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def run_end(pipeline: str, task_id: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Tell the gateway how the run ended.

    Args:
        pipeline: its name.
        task_id: what it was run for.
        status: how what the exit handler surrounds has ended.
    """
    from components.run_end.at_end import at_end

    at_end(
        pipeline,
        task_id,
        run=status.pipeline_job_resource_name or "",
        state=status.state or "",
        message=status.error_message or "",
    )
