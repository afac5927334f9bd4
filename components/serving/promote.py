"""A registered version is taken into service, or kept out of it, without a lost request.

Promotion never trusts: the file is checked, loaded beside what is served under a name of
its own, probed with the version's own parity set, and only then put in the old one's
place. Triton keeps the old version answering until the new one does. What became of it
stands on the version as tags, where the MLflow UI shows it.
"""

import logging
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.probe import TOLERANCES, answers, probe
from components.serving.repository import ModelRepository, new_candidate
from components.settings import Settings

_log = logging.getLogger(__name__)

# Triton's repository is one for all promoters of a process.
_one_at_a_time = threading.RLock()


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
        with _one_at_a_time, self.control() as control:
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
            Unavailable: if Triton is away or takes too long: a busy server is left alone.
        """
        with _one_at_a_time:
            if self.answers(model, version):
                return False
            # To Triton a model whose process was killed is loaded: load alone does nothing.
            _log.warning("%s %s does not answer and is loaded anew", model, version)
            with suppress(StepFailed):
                control.unload(model)
                control.load(model)
            return True if self.answers(model, version) else None

    def answers(self, model: str, version: int) -> bool:
        """Whether one small inference by that version succeeds."""
        with self._client(model, version) as client:
            try:
                answers(client)
            except (NotFound, StepFailed):
                return False
        return True

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
            PromotionFailed: if the findings are not the recorded ones.
            NotFound, StepFailed, Unavailable: as from ``TritonModel.infer``.
        """
        with self._client(model, version) as client:
            probe(client, parity_set, self.tolerance)

    def _client(self, model: str, version: int) -> TritonModel:
        return TritonModel(self.settings.triton_url, model, version, shared_memory=False)
