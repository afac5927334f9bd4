"""What Kubeflow Pipelines' client raises, as errors of ours that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.errors import BadInput, Conflict, NotFound, Refused, Unauthorized, Unavailable
from components.json_text import read_json
from components.settings import Settings

_LONGEST = 500


@contextmanager
def kfp_errors(settings: Settings, doing: str, *, run_id: str = "") -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        doing: what is asked for, as in "Kubeflow Pipelines refuses to …".
        run_id: the run that it is about, if any.

    Raises:
        Unavailable: if nobody answers, or not now.
        Unauthorized: if our token is none, or none any more.
        Refused: if we may not do this in the namespace.
        NotFound: if there is no such run.
        BadInput: if what is asked for cannot be done, with the server's words.
        Conflict: if it is there already.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

    where = f"Kubeflow Pipelines at {settings.kfp_endpoint}"
    try:
        yield
    except ApiException as error:
        raise _of_status(error, settings, where, doing, run_id) from error
    except HTTPError as error:
        reason = error.reason if isinstance(error, MaxRetryError) else error
        if isinstance(reason, SSLError):
            raise Unavailable(
                f"The certificate of {where} cannot be verified: name the certificates of who "
                f"signed it by ACTVERSE_KFP_CA_BUNDLE ({_short(reason)})."
            ) from error
        raise Unavailable(f"{where} does not answer: {_short(reason)}.") from error
    except OSError as error:
        # The client reads the token's file anew for each request.
        if error.filename is None or str(error.filename) != str(settings.kfp_token_path):
            raise
        raise Unauthorized(
            f"The token for {where} cannot be read from {settings.kfp_token_path}: mend "
            "ACTVERSE_KFP_TOKEN_PATH."
        ) from error


def _of_status(error: Any, settings: Settings, where: str, doing: str, run_id: str) -> Exception:
    said = server_words(error.body)
    told = f": {said}" if said else ""
    match error.status:
        # A login page is where a gateway in front of it sends those that it does not know.
        case 301 | 302 | 303 | 307 | 308 | 401:
            return Unauthorized(
                f"{where} does not know us{told}: give it a valid token by ACTVERSE_KFP_TOKEN or "
                "ACTVERSE_KFP_TOKEN_PATH."
            )
        case 403:
            namespace = settings.kfp_namespace
            place = f" in the namespace {namespace}" if namespace else ""
            return Refused(
                f"{where} refuses to {doing}{place}{told}. Bind our account to the ClusterRole "
                f"kubeflow-pipelines-edit{place}, or to a Role as in "
                "manifests/pipelines/access.yaml."
            )
        case 404 if run_id:
            return NotFound(
                f"There is no run {run_id} at {where}: it was deleted, or is another one's."
            )
        case 404:
            return NotFound(f"{where} has not what is needed to {doing}{told}.")
        case 409:
            return Conflict(f"{where} cannot {doing}{told}.")
        case status if status is None or status == 429 or status >= 500:
            return Unavailable(f"{where} cannot {doing} now ({status}){told}.")
        case _:
            return BadInput(f"{where} cannot {doing} ({error.status}){told}.")


def server_words(body: Any) -> str:
    """What an answer says of what went wrong, in one short line."""
    if isinstance(body, bytes):
        body = body.decode(errors="replace")
    try:
        content = read_json(body or "")
    except ValueError:
        return _short(body or "")
    if not isinstance(content, dict):
        return _short(content)
    for key in ("message", "error_message", "error"):
        if content.get(key):
            return _short(content[key])
    return ""


def _short(text: object) -> str:
    return " ".join(str(text).split())[:_LONGEST].rstrip(".")
