"""What the promotion gate found, as tags on the version that stood before it.

| tag | value |
|---|---|
| ``gate.earned`` | ``true`` or ``false`` |
| ``gate.reason`` | one sentence |
| ``gate.candidate.mAP50-95`` … | this version on the held-out frames |
| ``gate.champion.version``, ``gate.champion.mAP50-95`` … | whom it was held against, if anybody |
"""

from collections.abc import Mapping

from components.registry.connection import registry

EARNED_TAG, REASON_TAG = "gate.earned", "gate.reason"
_PREFIX = "gate."


def write_gate(
    name: str,
    version: int,
    *,
    earned: bool,
    reason: str,
    candidate: Mapping[str, float],
    champion: Mapping[str, float],
    champion_version: int | None,
    tracking_uri: str,
) -> None:
    """Write a verdict on a version, in place of an older one.

    Raises:
        NotFound: if there is no such version.
        Unavailable: if the server does not answer.
    """
    tags = {EARNED_TAG: str(earned).lower(), REASON_TAG: reason}
    tags |= {f"gate.candidate.{key}": f"{value:.6g}" for key, value in candidate.items()}
    tags |= {f"gate.champion.{key}": f"{value:.6g}" for key, value in champion.items()}
    if champion_version is not None:
        tags["gate.champion.version"] = str(champion_version)
    with registry(tracking_uri, f"version {version} of the model {name}") as client:
        for key in client.get_model_version(name, str(version)).tags:
            if key.startswith(_PREFIX) and key not in tags:
                client.delete_model_version_tag(name, str(version), key)
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version), key, value)


def read_gate_reason(name: str, version: int, *, tracking_uri: str) -> str:
    """Why a version earned its promotion or did not; empty if it never stood before the gate.

    Raises:
        NotFound: if there is no such version.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"version {version} of the model {name}") as client:
        return str(client.get_model_version(name, str(version)).tags.get(REASON_TAG, ""))
