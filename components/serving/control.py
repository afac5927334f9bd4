"""Triton's model control and repository index, over gRPC.

Never over HTTP: a load there stalls every other HTTP client until it is done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from components.errors import NotFound, StepFailed, Unavailable

_AWAY = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")


def as_our_error(error: InferenceServerException, url: str, what: str) -> Exception:
    """The error of our tree that says what Triton at ``url`` said about ``what``.

    Returns:
        NotFound for a model or version that is not served, Unavailable when the server
        is away or did not answer in time, StepFailed for everything else.
    """
    message = " ".join((error.message() or "").split())
    if "unknown model" in message or "is not found" in message:
        return NotFound(f"Triton at {url} does not serve {what}: deploy it first ({message}).")
    if error.status() in _AWAY:
        return Unavailable(
            f"Triton at {url} did not answer about {what} ({message}): look at its log."
        )
    return StepFailed(f"Triton could not do its part for {what}: {message}.")


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
    (seconds), StepFailed when it refuses.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        self.url = url
        self.timeout = timeout
        self._client = grpcclient.InferenceServerClient(url)

    def index(self) -> dict[str, dict[int, bool]]:
        """Every model that was loaded, its versions, and whether Triton calls each ready."""
        with triton_errors(self.url, "its repository"):
            index = self._client.get_model_repository_index(client_timeout=self.timeout)
        served: dict[str, dict[int, bool]] = {}
        for entry in index.models:
            if entry.version:
                versions = served.setdefault(entry.name, {})
                versions[int(entry.version)] = entry.state == "READY"
        return served

    def ready_versions(self, model: str) -> set[int]:
        """The versions of ``model`` that Triton calls ready."""
        return {version for version, ready in self.index().get(model, {}).items() if ready}

    def load(self, model: str) -> None:
        """Load ``model`` as its folder says now; what it served before serves until then."""
        with triton_errors(self.url, f"loading the model {model}"):
            self._client.load_model(model, client_timeout=self.timeout)

    def unload(self, model: str) -> None:
        """Unload all versions of ``model`` and return when they are gone."""
        with triton_errors(self.url, f"unloading the model {model}"):
            self._client.unload_model(model, client_timeout=self.timeout)

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
            status = self._client.get_system_shared_memory_status(client_timeout=self.timeout)
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
