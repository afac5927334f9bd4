"""A connection to Label Studio: its SDK with time limits, and its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from components.errors import BadInput, NotFound, Unauthorized, Unavailable
from components.json_text import read_json

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

_SECONDS = 60.0  # for each answer; a hundred tasks are taken in one
_CONNECT_SECONDS = 5.0
_PAGE = 1000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LabelStudioApi:
    """The Label Studio at ``url``, asked with a personal access token or a legacy one.

    No request is repeated here: who called tries again later. Nothing is asked before the
    first use.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token

    @cached_property
    def _http(self) -> httpx.Client:
        loopback = urlsplit(self.url).hostname in _LOOPBACK
        return httpx.Client(
            timeout=httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS), trust_env=not loopback
        )

    @cached_property
    def _sdk(self) -> "LabelStudio":
        from label_studio_sdk import LabelStudio

        return LabelStudio(
            base_url=self.url, api_key=self._token, max_retries=0, httpx_client=self._http
        )

    @contextmanager
    def asking(self, what: str) -> Iterator["LabelStudio"]:
        """The SDK; what it raises in the block becomes one of our errors.

        Args:
            what: is asked for, as the user knows it: ``the project 3``.

        Raises:
            Unavailable: if Label Studio does not answer, or with an error of its own.
            Unauthorized: if it refuses the token.
            NotFound: if it does not have it.
            BadInput: for all else that it refuses.
        """
        from label_studio_sdk.core.api_error import ApiError

        if not self._token:
            raise Unauthorized(
                f"There is no token for Label Studio at {self.url}: give it as "
                "ACTVERSE_LABEL_STUDIO_TOKEN."
            )
        try:
            yield self._sdk
        except ApiError as error:
            raise self._meaning(error.status_code or 0, error.body, what) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"Label Studio at {self.url} does not answer ({type(error).__name__}): start it, "
                "or mend ACTVERSE_LABEL_STUDIO_URL."
            ) from error
        except ValueError as error:
            raise Unavailable(self._strange(what)) from error

    def tasks(self, project: int, fields: str, *, annotations: bool = False) -> Iterator[dict]:
        """The tasks of a project as Label Studio's JSON, read page by page.

        Args:
            project: its id.
            fields: which, separated by commas; those of the annotations too.
            annotations: whether these are wanted.

        Raises:
            NotFound, Unavailable, Unauthorized: as ``asking``.
        """
        what = f"the project {project}"
        page = read = 0
        while True:
            page += 1
            with self.asking(what) as sdk:
                # Not by the SDK's own method: it makes a model of each task, which for 500
                # takes five times as long as Label Studio's answer.
                answer = self._http.get(
                    f"{self.url}/api/tasks/",
                    headers=sdk._client_wrapper.get_headers(),
                    params={
                        "project": project,
                        "page": page,
                        "page_size": _PAGE,
                        "fields": "all" if annotations else "task_only",
                        "include": fields,
                        "resolve_uri": "false",
                    },
                )
                if answer.status_code == httpx.codes.NOT_FOUND and page > 1:
                    return  # Tasks were deleted since the page before.
                if not answer.is_success:
                    raise self._meaning(answer.status_code, answer.text, what)
                try:
                    found = read_json(answer.content)
                    tasks, total = list(found["tasks"]), int(found["total"])
                except (KeyError, TypeError) as error:
                    raise ValueError(str(error)) from error
            yield from tasks
            read += len(tasks)
            if not tasks or read >= total:
                return

    def _meaning(self, status: int, body: Any, what: str) -> Exception:
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Unauthorized(
                f"Label Studio at {self.url} refuses the token: give a new one as "
                "ACTVERSE_LABEL_STUDIO_TOKEN."
            )
        if status == httpx.codes.NOT_FOUND:
            return NotFound(
                f"Label Studio at {self.url} does not have {what}: it was deleted there, or "
                "belongs to another organization."
            )
        if status in (httpx.codes.BAD_REQUEST, httpx.codes.CONFLICT):
            return BadInput(f"Label Studio refuses {what}: {_detail(body)}.")
        return Unavailable(self._strange(what))

    def _strange(self, what: str) -> str:
        return (
            f"Label Studio at {self.url} has no answer on {what} that can be used: look into its "
            "log, and try again."
        )


def _detail(body: Any) -> str:
    """What Label Studio says of a refusal."""
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body).rstrip(".")[:500]
