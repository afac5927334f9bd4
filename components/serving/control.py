"""Triton's model control and what it serves, over gRPC.

Never over HTTP: a load there stalls every other HTTP client until it is done.

A Triton may be started so that model control needs a key
(``--grpc-restricted-protocol=model-repository:actverse-control=KEY``); what it serves is
asked in a way that needs none. That is the statistics, not the repository's index: for the
index Triton reads the repository, which takes it 25 s where that is an S3 store that is away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from components.errors import NotFound, StepFailed, Unavailable

CONTROL_HEADER = "actverse-control"
"""The name of the key in Triton's options; over HTTP it is the header itself."""

_GRPC_PREFIX = "triton-grpc-protocol-"

_AWAY = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")


class NotServed(NotFound):
    """A model, or a version of it, that Triton does not serve now."""


class ModelDied(StepFailed):
    """A model whose process on Triton was killed or broke: no request reaches it."""


def as_our_error(error: InferenceServerException, url: str, what: str) -> Exception:
    """The error of our tree that says what Triton at ``url`` said about ``what``.

    Returns:
        NotServed for a model or version that is not served, Unavailable when the server is
        away, was restarted, did not answer in time or wants another key, ModelDied when the
        model's own process is gone, StepFailed for everything else.
    """
    message = " ".join((error.message() or "").split())
    if "protocol is restricted" in message:
        return Unavailable(
            f"Triton at {url} lets only those with its key ask for {what}: set "
            "ACTVERSE_TRITON_CONTROL_KEY to the key that it was started with."
        )
    if "unknown model" in message or "is not found" in message:
        return NotServed(f"Triton at {url} does not serve {what}: deploy it first ({message}).")
    if error.status() in _AWAY:
        return Unavailable(
            f"Triton at {url} did not answer about {what} ({message}): look at its log."
        )
    if "Unable to find shared memory region" in message:
        # Only a restart makes it forget what it has mapped.
        return Unavailable(
            f"Triton at {url} was restarted while it was asked for {what}: ask again ({message})."
        )
    kind = ModelDied if "Stub process" in message and "not healthy" in message else StepFailed
    return kind(f"Triton could not do its part for {what}: {message}.")


def control_headers(key: str) -> dict[str, str] | None:
    """The headers with which a request over gRPC shows ``key``, if there is one."""
    return {_GRPC_PREFIX + CONTROL_HEADER: key} if key else None


@contextmanager
def triton_errors(url: str, what: str) -> Iterator[None]:
    """Turn Triton's errors into ours."""
    try:
        yield
    except InferenceServerException as error:
        raise as_our_error(error, url, what) from error


class TritonControl:
    """One connection to Triton's control interface; a context manager.

    Every method raises Unavailable when Triton is away or is slower than ``timeout``
    (seconds) or wants another key, StepFailed when it refuses.

    Args:
        url: host:port of Triton's gRPC service.
        timeout: seconds that one answer may take.
        key: what Triton asks of who loads and unloads; empty if it asks nothing.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, key: str = "") -> None:
        self.url = url
        self.timeout = timeout
        self._client = grpcclient.InferenceServerClient(url)
        self._headers = control_headers(key)

    def served(self) -> dict[str, set[int]]:
        """The models with the versions of each that Triton calls ready; needs no key."""
        with triton_errors(self.url, "what it serves"):
            statistics = self._client.get_inference_statistics(
                headers=self._headers, client_timeout=self.timeout
            )
        served: dict[str, set[int]] = {}
        for entry in statistics.model_stats:
            served.setdefault(entry.name, set()).add(int(entry.version))
        return served

    def ready_versions(self, model: str) -> set[int]:
        """The versions of ``model`` that Triton calls ready; needs no key."""
        return self.served().get(model, set())

    def load(self, model: str) -> None:
        """Load ``model`` as its folder says now; what it served before serves until then.

        Raises:
            Unavailable: also when Triton does not get at its repository.
        """
        try:
            with triton_errors(self.url, f"loading the model {model}"):
                self._client.load_model(model, headers=self._headers, client_timeout=self.timeout)
        except StepFailed as error:
            # It says the same of a configuration that it cannot read.
            if "failed to poll" in str(error) and model not in self._in_repository():
                raise Unavailable(
                    f"Triton at {self.url} does not find the model {model} in its repository: "
                    "see that it reads the storage that actverse writes."
                ) from error
            raise

    def _in_repository(self) -> set[str]:
        """The models whose folders Triton finds, loaded or not."""
        try:
            with triton_errors(self.url, "its repository"):
                index = self._client.get_model_repository_index(
                    headers=self._headers, client_timeout=self.timeout
                )
        except StepFailed as error:
            raise Unavailable(
                f"Triton at {self.url} cannot read its repository: see that its storage is up and "
                f"takes its credentials. {error}"
            ) from error
        return {entry.name for entry in index.models}

    def unload(self, model: str) -> None:
        """Unload all versions of ``model`` and return when they are gone."""
        with triton_errors(self.url, f"unloading the model {model}"):
            self._client.unload_model(model, headers=self._headers, client_timeout=self.timeout)

    def config(self, model: str, version: int) -> dict[str, Any]:
        """The configuration a version is served with, as JSON.

        Raises:
            NotFound: if that version is not served.
        """
        with triton_errors(self.url, f"version {version} of the model {model}"):
            answer = self._client.get_model_config(
                model, str(version), as_json=True, client_timeout=self.timeout
            )
        return answer["config"]

    def shared_regions(self) -> list[str]:
        """The names of the system shared memory that clients have registered."""
        with triton_errors(self.url, "its shared memory"):
            status = self._client.get_system_shared_memory_status(
                headers=self._headers, client_timeout=self.timeout
            )
        return sorted(status.regions)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
