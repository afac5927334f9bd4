"""The OpenAPI document: FastAPI's own, with our errors in it as they are really given."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from gateway.problems import MEDIA_TYPE, STATUS
from gateway.schemas import Problem
from gateway.schemas.tasks import TaskRequest, UploadedTaskRequest

EXAMPLE_TASK = "t-0123456789ab"
"""The task that the examples name."""

_TEXT = ("string", "null")
_REF = "#/components/schemas/{model}"
_SENTENCES = {
    400: "The request is not valid: file_path: String should have at least 1 character.",
    401: "The API key is missing or unknown: send it as X-API-Key.",
    403: "The API key is not bob's: leave user_id out.",
    404: f"There is no task {EXAMPLE_TASK!r} of yours: look at the id.",
    409: "This Idempotency-Key came with another body: take a new key.",
    413: "The body is larger than the 1048576 bytes allowed: send a smaller one.",
    415: "The body is not JSON: send it as application/json.",
    416: "The file has 1200 bytes: ask for some of them.",
    422: "The values cannot be used: confidence: Input should be less than 1.",
    429: "More than 100 requests a second came with this key: try again in 1 second.",
    500: "The gateway broke: read its log.",
    503: "The database is locked or away: try again later.",
    507: "No space is left for the storage: free some and run it again.",
}
_KINDS = {500: "Unforeseen"} | {
    int(status): kind.__name__ for kind, status in reversed(STATUS) if status != 500
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of an endpoint: these problems.

    ``describe`` adds those that follow from the key, the body and the parameters.
    """
    return {status: {"model": Problem} for status in statuses}


def describe(app: FastAPI) -> None:
    """Complete the OpenAPI document of ``app``."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    # Read by their endpoint itself, so FastAPI does not know of them.
    models = (TaskRequest, UploadedTaskRequest, Problem)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    schemas |= definitions["$defs"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _complete(method, operation)
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]  # FastAPI's own word for a request that is not valid; ours is 400
    statuses = {"500"}
    if operation.get("security"):
        statuses |= {"401", "429", "503"} | (set() if method == "get" else {"507"})
    if body := operation.get("requestBody"):
        statuses |= {"413", "503"}
        if "application/json" in body["content"]:
            statuses |= {"400", "415"} if operation.get("security") else {"400"}
    if any(_can_be_wrong(parameter) for parameter in operation.get("parameters", [])):
        statuses.add("400")
    for status in statuses:
        responses.setdefault(status, {})
    for status, response in responses.items():
        if int(status) >= 400:
            _make_problem(int(status), response)
    operation["responses"] = dict(sorted(responses.items()))


def _can_be_wrong(parameter: dict[str, Any]) -> bool:
    """Whether there are values of a parameter that are refused by its schema."""
    schema = parameter["schema"]
    kinds = schema.get("anyOf", [schema])
    return any(set(kind) - {"type", "title"} or kind["type"] not in _TEXT for kind in kinds)


def _make_problem(status: int, response: dict[str, Any]) -> None:
    response.setdefault("description", HTTPStatus(status).phrase)
    if status in (429, 503, 507):
        response["headers"] = {
            "Retry-After": {
                "description": "seconds after which it may be tried again",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
    described = response.get("content", {}).get("application/json", {}).get("schema")
    plain = {"$ref": _REF.format(model="Problem")}
    if described not in (None, plain):  # a problem with members of its own
        response["content"] = {MEDIA_TYPE: {"schema": described}}
        return
    response["content"] = {
        MEDIA_TYPE: {
            "schema": plain,
            "example": {
                "type": f"urn:actverse:problem:{_KINDS[status]}",
                "title": HTTPStatus(status).phrase,
                "status": status,
                "detail": _SENTENCES[status],
            },
        }
    }
