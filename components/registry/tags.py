"""The state of a version's serving, as tags on it, where the MLflow UI shows them."""

from dataclasses import dataclass
from enum import StrEnum

from components.registry.connection import registry

STATE_TAG, REASON_TAG = "serving.state", "serving.reason"
ORIGIN_TAG, BROUGHT = "origin", "a user's file"
"""On a version that is listed with a training's run, but was not made by it."""

_MAX_REASON = 1000


class ServingState(StrEnum):
    """How far a version is on its way to being served."""

    REQUESTED = "requested"
    VALIDATING = "validating"
    READY = "ready"
    FAILED = "failed"
    RETIRED = "retired"


@dataclass(frozen=True)
class VersionState:
    """What a version's tags say of its serving; ``state`` is None if it was never asked for."""

    state: ServingState | None
    reason: str


def read_state(name: str, version: int, *, tracking_uri: str) -> VersionState:
    """The serving state of a version.

    Raises:
        NotFound: if there is no such version.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"version {version} of the model {name}") as client:
        tags = client.get_model_version(name, str(version)).tags
    known = tags.get(STATE_TAG) in set(ServingState)
    return VersionState(
        ServingState(tags[STATE_TAG]) if known else None,
        tags.get(REASON_TAG, ""),
    )


def write_state(
    name: str, version: int, state: ServingState, reason: str = "", *, tracking_uri: str
) -> None:
    """Set the serving state of a version; its reason is cleared where ``reason`` is empty.

    Raises:
        NotFound: if there is no such version.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"version {version} of the model {name}") as client:
        # The reason goes first: whoever waits for the state then finds the one that belongs to it.
        if reason:
            client.set_model_version_tag(name, str(version), REASON_TAG, reason[:_MAX_REASON])
        elif REASON_TAG in client.get_model_version(name, str(version)).tags:
            client.delete_model_version_tag(name, str(version), REASON_TAG)
        client.set_model_version_tag(name, str(version), STATE_TAG, state.value)
