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
