"""The registry's aliases and what Triton really serves are brought together.

Run every few seconds, it makes up for webhooks that were lost, for processes of Triton
that were killed, and for a Triton that was restarted. Where nothing changed it costs a
few small requests.
"""

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum

from components.errors import BadInput, NotFound, PromotionFailed, StepFailed, Unavailable
from components.registry.aliases import read_champions
from components.registry.tags import ServingState
from components.serving.control import TritonControl
from components.serving.promote import NoAnswer, NotYet, Promoter

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


_MOST_TRIES = 3
"""Of a version that does not answer; it has failed then."""
_BACK_OFF_SECONDS = 10.0
"""After the first of them, and twice as long after each other."""
_SIDE_BY_SIDE = 4
"""Models that are looked at or promoted at once: a slow one holds up no other."""


@dataclass
class _Silence:
    """A version that did not answer: how often, and when it is looked at again."""

    tries: int
    again: float


class Reconciler:
    """Looks at all models round by round, and remembers which of them misbehave.

    Args:
        promoter: names the servers and the alias, by its settings.
    """

    def __init__(self, promoter: Promoter) -> None:
        self.promoter = promoter
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="promotion")
        self._running: dict[str, Future[Reconciled]] = {}
        self._silent: dict[tuple[str, int], _Silence] = {}

    @property
    def running(self) -> frozenset[str]:
        """The models that no round has told the outcome of yet."""
        return frozenset(self._running)

    def round(self, force: Collection[str] = (), patience: float | None = None) -> list[Reconciled]:
        """Make Triton serve the version that each registered model's alias names.

        A version that failed is not tried again; what was served before it is kept in service.

        Args:
            force: models whose alias was just set: theirs is tried even if it failed before.
            patience: seconds to wait for the models; those that take longer go on meanwhile,
                and a later round tells of them.

        Returns:
            The outcomes of the models that are done with.

        Raises:
            Unavailable: if Triton, MLflow or the storage is away.
        """
        promoter, settings = self.promoter, self.promoter.settings
        wanted = read_champions(settings.champion_alias, tracking_uri=settings.mlflow_uri)
        with promoter.control() as control:
            try:
                served = control.served()
            except Unavailable:
                # It may be waiting for just this.
                promoter.repository.prepare()
                raise
        outcomes = []
        # Those that misbehave come last.
        for model, version in sorted(wanted.items(), key=lambda one: (one in self._silent, one)):
            if model in self._running:
                continue
            silent = self._silent.get((model, version))
            if silent and model not in force and time.monotonic() < silent.again:
                outcomes.append(Reconciled(model, version, Action.SKIPPED, "It does not answer."))
                continue
            ready, forced = served.get(model, set()), model in force
            self._running[model] = self._pool.submit(self._one, model, version, ready, forced)
        done = wait(self._running.values(), timeout=patience).done
        away: Unavailable | None = None
        for model, one in sorted(self._running.items()):
            if one in done:
                del self._running[model]
                try:
                    outcomes.append(one.result())
                except Unavailable as error:
                    away = error
        if away is not None:
            raise away
        return sorted(outcomes, key=lambda outcome: outcome.model)

    def _one(self, model: str, version: int, ready: set[int], force: bool) -> Reconciled:
        with self.promoter.control() as control:
            try:
                action = self._settled(control, model, version, ready, force)
                outcome = Reconciled(model, version, action)
            except NotYet as error:
                outcome = Reconciled(model, version, Action.SKIPPED, str(error))
            except NoAnswer as error:
                self._note(control, model, version, str(error))
                outcome = Reconciled(model, version, Action.FAILED, str(error))
            # One model's fault must not keep the others from being served.
            except (PromotionFailed, NotFound, BadInput, StepFailed) as error:
                outcome = Reconciled(model, version, Action.FAILED, str(error))
        if outcome.action is not Action.UNCHANGED:
            _log.info("%s %s: %s %s", model, version, outcome.action, outcome.reason)
        return outcome

    def _settled(
        self, control: TritonControl, model: str, version: int, ready: set[int], force: bool
    ) -> Action:
        def silent() -> bool:
            return self._note(
                control,
                model,
                version,
                f"Version {version} of the model {model} finds what it was registered with, but "
                "does not answer a small black frame",
            )

        action = _settle(self.promoter, control, model, version, ready, force, silent)
        if action is Action.UNCHANGED:
            self._silent.pop((model, version), None)
        return action

    def _note(self, control: TritonControl, model: str, version: int, what: str) -> bool:
        """Count that a version did not answer; whether it has failed by that."""
        silent = self._silent.setdefault((model, version), _Silence(0, 0.0))
        silent.again = time.monotonic() + _BACK_OFF_SECONDS * 2**silent.tries
        silent.tries += 1
        if silent.tries < _MOST_TRIES:
            return False
        reason = f"{what.rstrip('.')}; that was seen {silent.tries} times: give another model."
        self.promoter.give_up(control, model, version, reason)
        del self._silent[model, version]
        return True

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


def reconcile(promoter: Promoter, force: Collection[str] = ()) -> list[Reconciled]:
    """One round of a ``Reconciler``, with all the patience that its models need."""
    reconciler = Reconciler(promoter)
    try:
        return reconciler.round(force)
    finally:
        reconciler.close()


def _settle(
    promoter: Promoter,
    control: TritonControl,
    model: str,
    version: int,
    ready: set[int],
    force: bool,
    silent: Callable[[], bool],
) -> Action:
    state = promoter.state(model, version)
    if max(ready, default=None) == version:
        healed = promoter.heal(control, model, version)
        if healed is not None:
            if state is not ServingState.READY:
                promoter.mark(model, version, ServingState.READY)
            return Action.RELOADED if healed else Action.UNCHANGED
        if silent():
            return Action.FAILED
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
