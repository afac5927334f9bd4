"""The registry's aliases and what Triton really serves are brought together.

Run every few seconds, it makes up for webhooks that were lost, for processes of Triton
that were killed, and for a Triton that was restarted. Where nothing changed it costs a
few small requests.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from components.errors import BadInput, NotFound, PromotionFailed, StepFailed, Unavailable
from components.registry.aliases import read_champions
from components.registry.tags import ServingState
from components.serving.control import TritonControl
from components.serving.promote import Promoter

_log = logging.getLogger(__name__)


class Action(StrEnum):
    """What the reconciler did about a model."""

    UNCHANGED = "unchanged"
    PROMOTED = "promoted"
    RELOADED = "reloaded"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Reconciled:
    """One model's outcome: the version its alias names, what was done, and why not."""

    model: str
    version: int
    action: Action
    reason: str = ""


def reconcile(promoter: Promoter, force: Collection[str] = ()) -> list[Reconciled]:
    """Make Triton serve the version that each registered model's alias names.

    A version that failed is not tried again; what was served before it is kept in service.

    Args:
        promoter: names the servers and the alias, by its settings.
        force: models whose alias was just set: theirs is tried even if it failed before.

    Raises:
        Unavailable: if Triton, MLflow or the storage is away.
    """
    settings = promoter.settings
    wanted = read_champions(settings.champion_alias, tracking_uri=settings.mlflow_uri)
    with promoter.control() as control:
        try:
            served = control.served()
        except Unavailable:
            # It may be waiting for just this.
            promoter.repository.prepare()
            raise
        outcomes = []
        for model, version in sorted(wanted.items()):
            ready = served.get(model, set())
            try:
                action = _settle(promoter, control, model, version, ready, model in force)
                outcome = Reconciled(model, version, action)
            # One model's fault must not keep the others from being served.
            except (PromotionFailed, NotFound, BadInput, StepFailed) as error:
                outcome = Reconciled(model, version, Action.FAILED, str(error))
            if outcome.action is not Action.UNCHANGED:
                _log.info("%s %s: %s %s", model, version, outcome.action, outcome.reason)
            outcomes.append(outcome)
    return outcomes


def _settle(
    promoter: Promoter,
    control: TritonControl,
    model: str,
    version: int,
    ready: set[int],
    force: bool,
) -> Action:
    state = promoter.state(model, version)
    if max(ready, default=None) == version:
        healed = promoter.heal(control, model, version)
        if healed is not None:
            if state is not ServingState.READY:
                promoter.mark(model, version, ServingState.READY)
            return Action.RELOADED if healed else Action.UNCHANGED
    if state is ServingState.FAILED and not force:
        return _keep_serving(promoter, control, model, ready)
    if not ready:
        on_disk = max(promoter.repository.served_versions(model), default=None)
        if on_disk == version and _load_again(promoter, control, model, version):
            promoter.mark(model, version, ServingState.READY)
            return Action.RELOADED
    promoter.promote(model, version)
    return Action.PROMOTED


def _keep_serving(
    promoter: Promoter, control: TritonControl, model: str, ready: set[int]
) -> Action:
    """Keep in service what was served before a version failed."""
    on_disk = max(promoter.repository.served_versions(model), default=None)
    if on_disk is None:
        return Action.SKIPPED
    if on_disk not in ready:
        return Action.RELOADED if _load_again(promoter, control, model, on_disk) else Action.FAILED
    return Action.RELOADED if promoter.heal(control, model, on_disk) else Action.SKIPPED


def _load_again(promoter: Promoter, control: TritonControl, model: str, version: int) -> bool:
    """Load what the repository still holds, and put its parity set through it."""
    try:
        control.load(model)
        parity_set = promoter.repository.read_parity_set(model, version)
        promoter.probe(model, version, parity_set)
    except (BadInput, NotFound, StepFailed) as error:
        _log.warning("%s %s could not be loaded again: %s", model, version, error)
        return False
    return True
