"""The pipeline's last step: ask for a version to be served and wait until it is."""

import time

from components.errors import PromotionFailed
from components.registry.aliases import read_champion, set_champion
from components.registry.in_service import version_in_service
from components.registry.tags import ServingState, read_state, write_state
from components.settings import Settings
from components.steps import Progress, no_progress

_POLL_SECONDS = 0.25


def deploy(
    model: str,
    version: int,
    *,
    settings: Settings,
    timeout: float,
    progress: Progress = no_progress,
) -> None:
    """Point the champion's alias at a version and wait until Triton really serves it.

    The promotion is done by whoever hears the registry's webhook or reconciles; this only
    asks for it and reads the version's tags.

    Args:
        model, version: a registered version.
        settings: the MLflow server and the alias are read.
        timeout: seconds to wait.
        progress: told the state as fact ``state``.

    Raises:
        PromotionFailed: with the reason, if the version was not fit to be served, the alias
            was moved on, or nobody promoted it in time.
        NotFound: if there is no such version.
        Unavailable: if the MLflow server does not answer.
    """
    uri = settings.mlflow_uri
    write_state(model, version, ServingState.REQUESTED, tracking_uri=uri)
    set_champion(model, version, settings.champion_alias, tracking_uri=uri)
    deadline = time.monotonic() + timeout
    while True:
        seen = read_state(model, version, tracking_uri=uri)
        progress(int(seen.state is ServingState.READY), 1, state=str(seen.state))
        if seen.state is ServingState.READY:
            return
        if seen.state is ServingState.FAILED:
            raise PromotionFailed(
                seen.reason or f"Version {version} of the model {model} failed without a reason."
            )
        wanted = read_champion(model, settings.champion_alias, tracking_uri=uri)
        if wanted != version:
            raise PromotionFailed(
                f"The alias {settings.champion_alias!r} of the model {model} was moved from "
                f"version {version} to {wanted} before it was served: deploy it again if you "
                "still want it."
            )
        if time.monotonic() > deadline:
            raise PromotionFailed(
                f"Version {version} of the model {model} was not served within {timeout:g} s; its "
                f"state is {seen.state}: see that the gateway runs and what its log says."
            )
        time.sleep(_POLL_SECONDS)


def keep_champion(model: str, *, settings: Settings, timeout: float) -> int:
    """Leave the champion as it is, whoever chose it, and tell which version is served.

    Raises:
        PromotionFailed: if no version is ready in time.
        NotFound: if there is no such model.
        Unavailable: if the MLflow server does not answer.
    """
    uri, alias = settings.mlflow_uri, settings.champion_alias
    deadline = time.monotonic() + timeout
    while True:
        version = version_in_service(model, alias, tracking_uri=uri)
        state = read_state(model, version, tracking_uri=uri).state if version else None
        if version and state is ServingState.READY:
            return version
        if time.monotonic() > deadline:
            raise PromotionFailed(
                f"The new version of the model {model} did not earn its promotion, and no other "
                f"was served within {timeout:g} s: give one of them the alias {alias!r}."
            )
        time.sleep(_POLL_SECONDS)
