"""A registered version is taken into service, or kept out of it, without a lost request.

Promotion never trusts: the file is checked, loaded beside what is served under a name of
its own, probed with the version's own parity set, and only then put in the old one's
place. Triton keeps the old version answering until the new one does. What became of it
stands on the version as tags, where the MLflow UI shows it.
"""

import logging
import tempfile
import threading
from collections import defaultdict
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from components.errors import (
    ActverseError,
    BadInput,
    NotFound,
    PromotionFailed,
    StepFailed,
    StorageFull,
    Unavailable,
)
from components.layout import checked_name
from components.parity_set import ParitySet
from components.registry.download import DownloadedVersion, download_version
from components.registry.tags import ServingState, read_state, write_state
from components.serving.check_apart import check_apart
from components.serving.client import Outputs, TritonModel
from components.serving.control import TritonControl
from components.serving.probe import TOLERANCES, look, probe
from components.serving.repository import ModelRepository, new_candidate
from components.serving.stubs import end_stubs
from components.settings import Settings

_log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""That a look at a served version waits for its answer."""

_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


def _one_at_a_time(model: str) -> threading.RLock:
    """What all promoters of a process hold while they change a model; others are not held up."""
    return _locks[model]


class NoAnswer(Unavailable):
    """Triton answers, but a version that it serves does not, within the time of a request."""


class NotYet(Unavailable):
    """A version has not answered yet: it is busy, or it never will."""


@dataclass
class _Look:
    """A small inference that a version was asked for, and the connection that it goes over.

    It is never cancelled: see ``TritonModel``.
    """

    client: TritonModel
    answer: "Future[Outputs]"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes:
        model, version: what is served now to requests that name no version.
        previous: what was served before, or None.
        changed: False if that version was served and answering already.
    """

    model: str
    version: int
    previous: int | None
    changed: bool


@dataclass(frozen=True)
class _Checked:
    """A version's files that passed all checks which need no server."""

    files: DownloadedVersion
    parity_set: ParitySet


class Promoter:
    """Takes versions into service on the Triton server and from the registry of ``settings``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.repository = ModelRepository(settings)
        self.tolerance = TOLERANCES[settings.triton_accelerator]
        self._looks: dict[tuple[str, int], _Look] = {}
        # Loaded anew, and asked whether they answer now.
        self._reloaded: set[tuple[str, int]] = set()

    def promote(self, model: str, version: int) -> Promotion:
        """Serve ``version`` as the answer to requests that name no version.

        The version served before stays loaded for those who pinned it, if its number is
        lower (else it would still answer the others) and its tensors are the same.

        Raises:
            PromotionFailed: if it is not fit to be served; the one before serves on, and
                the version's tags say why.
            NotFound: if the registry has no such version.
            Unavailable: if Triton, MLflow or the storage is away, or somebody else promotes
                another version meanwhile; the version's state is ``requested`` then, if it
                can be written.
        """
        checked_name(model, "model name")
        with _one_at_a_time(model), self.control() as control:
            self.state(model, version)
            previous = max(control.ready_versions(model), default=None)
            if previous == version and self.heal(control, model, version) is not None:
                self.mark(model, version, ServingState.READY)
                return Promotion(model, version, previous, changed=False)
            self.mark(model, version, ServingState.VALIDATING)
            try:
                self._take_into_service(control, model, version, previous)
            except (BadInput, NotFound, StepFailed, StorageFull) as error:
                _log.warning("%s %s is not promoted: %s", model, version, error)
                self.mark(model, version, ServingState.FAILED, str(error))
                raise PromotionFailed(str(error)) from error
            except BaseException:
                with suppress(ActverseError):
                    self.mark(model, version, ServingState.REQUESTED)
                raise
            self.mark(model, version, ServingState.READY)
            if previous is not None and previous != version:
                # A version may be gone from the registry and still be served.
                with suppress(NotFound):
                    self.mark(model, previous, ServingState.RETIRED)
            _log.info("%s %s is served in place of %s", model, version, previous)
            return Promotion(model, version, previous, changed=True)

    def heal(self, control: TritonControl, model: str, version: int) -> bool | None:
        """See that a version which is to be loaded answers; load it anew if it does not.

        Returns:
            False if it answered, True if it answers after being loaded anew, None if it
            does not even then.

        Raises:
            NotYet: if it has not answered yet: a busy model is left alone, and looked at again.
            NoAnswer: if it did not answer within the time of a request.
            Unavailable: if Triton is away.
        """
        key = (model, version)
        with _one_at_a_time(model):
            if key not in self._reloaded:
                if self.answers(model, version):
                    return False
                # To Triton a model whose process was killed is loaded: load alone does nothing.
                _log.warning("%s %s does not answer and is loaded anew", model, version)
                with suppress(StepFailed):
                    control.unload(model)
                    control.load(model)
                self._reloaded.add(key)
            try:
                answered = self.answers(model, version)
            except NotYet:
                raise
            except BaseException:
                self._reloaded.discard(key)
                raise
            self._reloaded.discard(key)
            return True if answered else None

    def answers(self, model: str, version: int) -> bool:
        """Whether one small inference by that version succeeds.

        Raises:
            NotYet: if it has not answered within ``LOOK_SECONDS``; the next look waits for
                the same answer.
            NoAnswer: if it did not answer within the time of a request.
            Unavailable: if Triton is away.
        """
        key = (model, version)
        seen = self._looks.pop(key, None)
        try:
            seen = seen or self._begin_look(model, version)
        except (NotFound, StepFailed):
            return False
        if not wait([seen.answer], timeout=LOOK_SECONDS).done:
            self._looks[key] = seen
            raise NotYet(
                f"Version {version} of the model {model} has not answered yet: it is looked at "
                "again."
            )
        with seen.client:
            try:
                seen.answer.result()
            except (NotFound, StepFailed):
                return False
            except Unavailable as error:
                self._raise_silent(model, version, error)
        return True

    def _begin_look(self, model: str, version: int) -> _Look:
        client = self._client(model, version)
        try:
            return _Look(client, look(client))
        except BaseException:
            client.close()
            raise

    def _raise_silent(self, model: str, version: int, error: Unavailable) -> NoReturn:
        """Raise NoAnswer where it is the version that is silent, and not Triton."""
        with TritonControl(self.settings.triton_url, timeout=LOOK_SECONDS) as control:
            control.served()
        raise NoAnswer(
            f"Version {version} of the model {model} does not answer, though Triton does ({error})"
        ) from error

    def give_up(self, control: TritonControl, model: str, version: int, reason: str) -> None:
        """Take a version that never answers out of service, end its process and say why.

        Another version that was served beside it answers on.
        """
        with _one_at_a_time(model):
            self._looks.pop((model, version), None)
            self._reloaded.discard((model, version))
            served = self.repository.served_versions(model)
            if version in served:
                self._leave_out(control, model, served - {version})
            self.mark(model, version, ServingState.FAILED, reason)

    def _leave_out(self, control: TritonControl, model: str, rest: set[int]) -> None:
        """End all processes of a model, and serve the rest of its versions in new ones."""
        with suppress(Unavailable, StepFailed):
            control.unload(model)
        end_stubs(self.settings.triton_url, model)
        try:
            config = self.repository.config_for(model, rest) if rest else None
            self.repository.put_config(model, config)
            if rest:
                control.load(model)
        except (BadInput, NotFound, StepFailed) as error:
            _log.warning("nothing of %s is served any more: %s", model, error)
            self.repository.put_config(model, None)

    def control(self) -> TritonControl:
        """A new connection to Triton's control interface."""
        return TritonControl(
            self.settings.triton_url,
            timeout=self.settings.promotion_timeout,
            key=self.settings.triton_control_key.get_secret_value(),
        )

    def state(self, model: str, version: int) -> ServingState | None:
        """The state that the version's tag says."""
        return read_state(model, version, tracking_uri=self.settings.mlflow_uri).state

    def mark(self, model: str, version: int, state: ServingState, reason: str = "") -> None:
        """Write the version's state, and its reason."""
        write_state(model, version, state, reason, tracking_uri=self.settings.mlflow_uri)

    def _take_into_service(
        self, control: TritonControl, model: str, version: int, previous: int | None
    ) -> None:
        storage = self.repository.root.parent
        storage.mkdir(parents=True, exist_ok=True)
        # On the repository's own file system, where a link does for a copy.
        with tempfile.TemporaryDirectory(dir=storage, prefix=".promotion-") as folder:
            files = download_version(model, version, Path(folder), self.settings.mlflow_uri)
            check_apart(files.onnx, memory_bytes=self.settings.model_memory_bytes)
            checked = _Checked(files, ParitySet.read(files.parity_set))
            self._try_out(control, model, version, checked)
            self._switch(control, model, version, previous, checked)

    def _try_out(self, control: TritonControl, model: str, version: int, checked: _Checked) -> None:
        """Load and probe a version where no client asks for it."""
        # A trial takes no longer than each of its parts may: the longest is the load.
        for leftover in self.repository.abandoned_candidates(
            model, 3 * self.settings.promotion_timeout
        ):
            self._end_trial(control, leftover)
        candidate = new_candidate(model)
        try:
            self._write(candidate, version, checked)
            self.repository.write_config(candidate, {version})
            control.load(candidate)
            self.probe(candidate, version, checked.parity_set)
        except NoAnswer:
            end_stubs(self.settings.triton_url, candidate)
            raise
        finally:
            self._end_trial(control, candidate)

    def _end_trial(self, control: TritonControl, candidate: str) -> None:
        with suppress(Unavailable, StepFailed):
            control.unload(candidate)
        try:
            self.repository.remove_model(candidate)
        except Unavailable as error:
            _log.warning("%s stays until a later promotion: %s", candidate, error)

    def _switch(
        self,
        control: TritonControl,
        model: str,
        version: int,
        previous: int | None,
        checked: _Checked,
    ) -> None:
        """Put a version in the place of ``previous``, or leave all as it was."""
        before, served = self.repository.config_text(model), self.repository.served_versions(model)
        versions = {version}
        ours = None
        try:
            self._write(model, version, checked)
            if (
                previous is not None
                and previous < version
                and self.repository.same_tensors(model, previous, version)
            ):
                versions.add(previous)
            ours = self.repository.config_for(model, versions)
            self.repository.put_config(model, ours)
            control.load(model)
            self.probe(model, version, checked.parity_set)
        except ActverseError as error:
            now = self.repository.config_text(model)
            if now not in (before, ours):
                raise Unavailable(
                    f"Another promoter has changed what is served of the model {model} while "
                    f"version {version} was promoted: it is looked at again."
                ) from error
            if now != before:
                self.repository.put_config(model, before)
                with suppress(Unavailable, StepFailed):
                    if before is None:
                        control.unload(model)
                    else:
                        control.load(model)
            self._remove_retired(model, {version})
            raise
        self._remove_retired(model, served - versions)

    def _remove_retired(self, model: str, retired: set[int]) -> None:
        try:
            self.repository.remove_retired(model, retired)
        except Unavailable as error:
            # They only make Triton's next load longer.
            _log.warning("retired versions of %s stay in the storage: %s", model, error)

    def _write(self, model: str, version: int, checked: _Checked) -> None:
        self.repository.write_version(
            model, version, onnx=checked.files.onnx, parity_set=checked.files.parity_set
        )

    def probe(self, model: str, version: int, parity_set: ParitySet) -> None:
        """Put a version's parity set through the server.

        Raises:
            PromotionFailed: if the findings are not the recorded ones, or take too long.
            NoAnswer: if it did not answer within the time of a request.
            NotFound, StepFailed, Unavailable: as from ``TritonModel.infer``.
        """
        with self._client(model, version) as client:
            try:
                probe(client, parity_set, self.tolerance, self.settings.promotion_timeout)
            except Unavailable as error:
                self._raise_silent(model, version, error)

    def _client(self, model: str, version: int) -> TritonModel:
        return TritonModel(self.settings.triton_url, model, version, shared_memory=False)
