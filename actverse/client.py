"""Talks to the gateway over REST."""

from types import TracebackType
from typing import Any, Self

import httpx

from components.errors import ActverseError, BadInput, NotFound, Refused, StorageFull, Unavailable

_KINDS: dict[str, type[ActverseError]] = {
    kind.__name__: kind for kind in (BadInput, NotFound, Refused, StorageFull, Unavailable)
}


class Client:
    """A connection to one gateway with one API key."""

    def __init__(self, gateway: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=gateway, headers={"X-API-Key": api_key}, timeout=30.0, trust_env=False
        )

    def create_task(self, request: dict[str, Any]) -> str:
        """Post a task and return its id.

        Raises:
            BadInput: if the gateway refuses the request.
            Unavailable: if the gateway does not answer.
        """
        return str(self._call("POST", "/tasks/", json=request)["task_id"])

    def status(self, task_id: str) -> dict[str, Any]:
        """The task's ``process_status``.

        Raises:
            NotFound: if there is no such task of this key's user.
            Unavailable: if the gateway does not answer.
        """
        status: dict[str, Any] = self._call("GET", f"/status/{task_id}")["process_status"]
        return status

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise Unavailable(
                f"The gateway at {self._http.base_url} does not answer ({error}): is it running?"
            ) from error
        content: dict[str, Any] = answer.json()
        if answer.is_error:
            kind = _KINDS.get(content.get("type", "").rpartition(":")[2], ActverseError)
            raise kind(content.get("detail", answer.text))
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()
