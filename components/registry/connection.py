"""The line to the MLflow server, whose registry holds the desired state."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from components.errors import NotFound, StepFailed, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Its client repeats a request for some four minutes without a word. Whoever asks here waits
# himself, in sight, or has to go on.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


@contextmanager
def let_in_with(environment: dict[str, str]) -> Iterator[None]:
    """Let MLflow's client in this process show who it is, while the block runs.

    For a process that was not started with ``Settings.tracking_environment()``.
    """
    # MLflow's client looks for it nowhere but in the environment.
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def shown_address(tracking_uri: str) -> str:
    """The server's address without the credentials that a URL may hold."""
    try:
        parts = urlsplit(tracking_uri)
    except ValueError:
        return tracking_uri.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def check_answers(tracking_uri: str) -> None:
    """See whether the server at ``tracking_uri`` answers, in seconds.

    Raises:
        Unavailable: if it does not.
    """
    # MLflow's own client tries a dead server for minutes before it says so.
    try:
        answer = httpx.get(f"{tracking_uri}/health", timeout=5)
        fault = "" if answer.is_success else f"status {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fault = str(error) or type(error).__name__
    if fault:
        raise Unavailable(
            f"The MLflow server at {shown_address(tracking_uri)} does not answer ({fault}): "
            "start it or look at its log."
        )


@contextmanager
def registry(tracking_uri: str, what: str) -> Iterator["MlflowClient"]:
    """A client of the server at ``tracking_uri``, its errors turned into ours.

    Args:
        tracking_uri: http://host:port. A database opened directly would fire no webhook.
        what: what is being asked for, as an error message should name it.

    Raises:
        Unavailable: if the server does not answer.
        NotFound: if it does not know what was asked for.
        StepFailed: if it refuses.
    """
    check_answers(tracking_uri)
    from mlflow import MlflowClient

    with mlflow_errors(tracking_uri, what):
        yield MlflowClient(tracking_uri, registry_uri=tracking_uri)


@contextmanager
def mlflow_errors(tracking_uri: str, what: str) -> Iterator[None]:
    """Turn the errors of MLflow's client into ours, as ``registry`` says."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException  # type: ignore[import-untyped]

    address = shown_address(tracking_uri)
    try:
        yield
    except RequestException as error:
        # Files go past MLflow's own errors.
        message = " ".join(str(error).split()).replace(tracking_uri, address)
        status = error.response.status_code if isinstance(error, HTTPError) else 0
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise StepFailed(f"MLflow at {address} refused {what}: {message}.") from error
        raise Unavailable(f"MLflow at {address} failed on {what} ({message}).") from error
    except MlflowException as error:
        message = " ".join(str(error).split()).replace(tracking_uri, address)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(
                f"MLflow at {address} does not know {what} ({message}): register it first."
            ) from error
        if error.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR"):
            raise Unavailable(f"MLflow at {address} failed on {what} ({message}).") from error
        raise StepFailed(f"MLflow at {address} refused {what}: {message}.") from error
