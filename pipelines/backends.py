"""Which place runs the pipelines of an installation."""

from components.settings import Settings
from pipelines.backend import PipelineBackend


def open_backend(
    settings: Settings, *, local: bool = False, own_session: bool = True
) -> PipelineBackend:
    """Kubeflow Pipelines where ``kfp_endpoint`` names one, else this machine.

    Args:
        local: this machine in any case.
        own_session: let runs on this machine outlive this process; without it they are in its
            process group, and end with that.

    Raises:
        BadInput: if the settings of Kubeflow Pipelines cannot be used.
    """
    if settings.kfp_endpoint and not local:
        from pipelines.kubeflow import KubeflowBackend

        return KubeflowBackend(settings)
    from pipelines.local_backend import LocalBackend

    return LocalBackend(settings, own_session=own_session)
