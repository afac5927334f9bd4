"""Models that Triton has lost for a moment: what the registry says is to be served comes back.

A Triton that was restarted has nothing loaded until the reconciler has looked. A model whose
process was killed answers nothing until it was loaded anew, and a version may be unloaded by a
promotion. None of this is a fault of whoever asks.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import NotFound, Unavailable
from components.registry.in_service import version_in_service
from components.registry.tags import ServingState, read_state
from components.serving.control import ModelDied, NotServed
from components.settings import Settings


def version_to_be_served(settings: Settings, model: str, version: int = 0) -> int | None:
    """The version of a model that Triton is to serve, as the registry says; None if there is none.

    Args:
        settings: the MLflow server and the alias are read; without a server nothing is known.
        model: its registered name.
        version: one that was pinned; 0: the one that the champion's alias names.

    Raises:
        Unavailable: if the registry does not answer.
    """
    uri = settings.mlflow_uri
    if not uri or not model:
        return None
    try:
        if not version:
            return version_in_service(model, settings.champion_alias, tracking_uri=uri)
        failed = read_state(model, version, tracking_uri=uri).state is ServingState.FAILED
    except NotFound:
        return None
    return None if failed else version


def lost_model(settings: Settings, model: str, version: int = 0) -> Unavailable | None:
    """The error that says that a model is to be served and is not; None if it is not to be.

    Raises:
        Unavailable: if the registry does not answer.
    """
    wanted = version_to_be_served(settings, model, version)
    if wanted is None:
        return None
    return Unavailable(
        f"Triton at {settings.triton_url} does not serve version {wanted} of the model {model} at "
        "the moment, though the registry says that it should: it is waited for. See that the "
        "watcher runs, which loads it again."
    )


@contextmanager
def awaited(settings: Settings, model: str, version: int) -> Iterator[None]:
    """Ask for a version of a model in the block; its loss is told as something that passes.

    Raises:
        Unavailable: in place of NotServed and ModelDied, if the version is to be served.
    """
    try:
        yield
    except (NotServed, ModelDied) as error:
        if lost := lost_model(settings, model, version):
            raise lost from error
        raise
