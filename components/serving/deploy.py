"""The pipeline's last step: ask for a version to be served and wait until it is."""

import time
from functools import partial

from components.errors import PromotionFailed, Unavailable
from components.patience import NO_PATIENCE, Patience
from components.registry.aliases import read_champion, set_champion
from components.registry.in_service import version_in_service
from components.registry.tags import ServingState, read_state, write_state
from components.serving.control import TritonControl
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
    patience: Patience = NO_PATIENCE,
) -> None:
    """Point the champion's alias at a version and wait until Triton really serves it.

    The promotion is done by whoever hears the registry's webhook or reconciles; this only
    asks for it and reads the version's tags.

    Args:
        model, version: a registered version.
        settings: the MLflow server and the alias are read.
        timeout: seconds to wait.
        progress: told the state as fact ``state``.
        patience: waits for an MLflow or a Triton that is away; that time does not count.

    Raises:
        PromotionFailed: with the reason, if the version was not fit to be served, the alias
            was moved on, or nobody promoted it in time.
        NotFound: if there is no such version.
        Unavailable: if the MLflow server does not answer, or Triton does not and the version
            could not be promoted for that.
    """
    uri = settings.mlflow_uri
    _ask_for(model, version, settings, patience)
    deadline = time.monotonic() + timeout
    while True:
        seen = patience(lambda: read_state(model, version, tracking_uri=uri))
        progress(int(seen.state is ServingState.READY), 1, state=str(seen.state))
        if seen.state is ServingState.READY:
            return
        if seen.state is ServingState.FAILED:
            raise PromotionFailed(
                seen.reason or f"Version {version} of the model {model} failed without a reason."
            )
        wanted = patience(lambda: read_champion(model, settings.champion_alias, tracking_uri=uri))
        if wanted != version:
            raise _moved_on(model, version, wanted, settings)
        if time.monotonic() > deadline and _was_away(settings, patience):
            deadline = time.monotonic() + timeout
        if time.monotonic() > deadline:
            raise PromotionFailed(
                f"Version {version} of the model {model} was not served within {timeout:g} s; its "
                f"state is {seen.state}: see that the gateway runs and what its log says."
            )
        time.sleep(_POLL_SECONDS)


def _ask_for(model: str, version: int, settings: Settings, patience: Patience) -> None:
    """Point the alias at a version; after a lost answer not where somebody has moved it since."""
    uri, alias = settings.mlflow_uri, settings.champion_alias
    patience(lambda: write_state(model, version, ServingState.REQUESTED, tracking_uri=uri))
    before = patience(lambda: read_champion(model, alias, tracking_uri=uri))
    asked = False

    def ask() -> None:
        nonlocal asked
        if asked and (now := read_champion(model, alias, tracking_uri=uri)) != before:
            if now != version:
                raise _moved_on(model, version, now, settings)
            return
        asked = True
        set_champion(model, version, alias, tracking_uri=uri)

    patience(ask)


def _moved_on(model: str, version: int, wanted: int | None, settings: Settings) -> PromotionFailed:
    return PromotionFailed(
        f"The alias {settings.champion_alias!r} of the model {model} was moved from "
        f"version {version} to {wanted} before it was served: deploy it again if you "
        "still want it."
    )


def _was_away(settings: Settings, patience: Patience) -> bool:
    """Whether Triton did not answer, so that nobody could promote; it is waited for.

    Raises:
        Unavailable: if it does not come back.
    """
    away = False

    def ask() -> None:
        nonlocal away
        try:
            key = settings.triton_control_key.get_secret_value()
            with TritonControl(settings.triton_url, timeout=10, key=key) as control:
                control.served()
        except Unavailable:
            away = True
            raise

    if settings.triton_url:
        patience(ask)
    return away


def keep_champion(
    model: str, *, settings: Settings, timeout: float, patience: Patience = NO_PATIENCE
) -> int:
    """Leave the champion as it is, whoever chose it, and tell which version is served.

    Raises:
        PromotionFailed: if no version is ready in time.
        NotFound: if there is no such model.
        Unavailable: if the MLflow server does not answer.
    """
    uri, alias = settings.mlflow_uri, settings.champion_alias
    deadline = time.monotonic() + timeout
    while True:
        version = patience(lambda: version_in_service(model, alias, tracking_uri=uri))
        if version and patience(partial(_is_ready, model, version, uri)):
            return version
        if time.monotonic() > deadline and _was_away(settings, patience):
            deadline = time.monotonic() + timeout
        if time.monotonic() > deadline:
            raise PromotionFailed(
                f"The new version of the model {model} did not earn its promotion, and no other "
                f"was served within {timeout:g} s: give one of them the alias {alias!r}."
            )
        time.sleep(_POLL_SECONDS)


def _is_ready(model: str, version: int, tracking_uri: str) -> bool:
    return read_state(model, version, tracking_uri=tracking_uri).state is ServingState.READY
