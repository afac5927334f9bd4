"""A model that helps with the labels, and that no task is to fail for."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import NotFound, StepFailed, Unavailable
from gateway.steps.context import StepContext

# With the runner's backoff some quarter of a minute: as long as a restart may take.
_PATIENT_ATTEMPTS = 5


class NoModel(Exception):
    """A model could not be asked; the sentence is its own."""


@contextmanager
def optional_model(context: StepContext) -> Iterator[None]:
    """Ask a model that the step can do without.

    Raises:
        NoModel: at once where it is broken or gone; where Triton is away, in a later attempt.
        Unavailable: in the first attempts, so that the step is tried again.
    """
    try:
        yield
    except (NotFound, StepFailed, Unavailable) as error:
        # Also the end of this worker is told as Unavailable.
        context.check()
        if isinstance(error, Unavailable) and context.attempt < _PATIENT_ATTEMPTS:
            raise
        raise NoModel(str(error)) from error


def wait_for_lost(context: StepContext, name: str) -> None:
    """Let the step be tried again, for some attempts, where Triton has lost a model.

    Raises:
        Unavailable: in the first attempts, if the model was served before and is to be served.
    """
    if context.attempt < _PATIENT_ATTEMPTS and (lost := lost_model_of(context, name)):
        raise lost


def lost_model_of(context: StepContext, name: str) -> Unavailable | None:
    """The error that says that Triton has lost a model; None if it is not to serve it.

    Most installations have no such model. So the repository is looked at first: it costs no
    connection to the registry.

    Raises:
        Unavailable: if the repository or the registry does not answer.
    """
    from components.serving.awaited import lost_model
    from components.serving.repository import ModelRepository

    if not ModelRepository(context.settings).served_versions(name):
        return None
    return lost_model(context.settings, name)
