"""The page and the document that describe the REST interface."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

METHODS = {"get", "put", "post", "delete"}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }


def test_the_page_needs_nothing_from_the_network(client: TestClient):
    page = client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert sources
    assert not [source for source in sources if "//" in source]
    assert all(client.get(source).status_code == 200 for source in sources)


def test_the_document_names_every_endpoint_of_the_design(document):
    named = {f"{method.upper()} {path}" for path, of in document["paths"].items() for method in of}
    assert named >= {
        "POST /tasks/",
        "GET /tasks/",
        "DELETE /tasks/{task_id}",
        "GET /tasks/{task_id}/results",
        "GET /tasks/{task_id}/results/{path}",
        "GET /status/{task_id}",
        "GET /tasks/{task_id}/events",
        "POST /video/download",
        "POST /video/extract-frames",
        "POST /video/upload",
        "POST /labeling",
        "GET /labeling/{task_id}",
        "POST /training",
        "GET /training/{task_id}",
        "POST /deployments",
        "GET /models",
        "POST /models",
        "POST /models/{task_id}/inference",
        "PUT /files/{key}",
        "GET /files/",
        "GET /files/{key}",
        "DELETE /files/{key}",
        "POST /webhooks/mlflow",
        "POST /webhooks/label-studio",
        "POST /webhooks/pipelines",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_each_operation_can_be_called_by_a_generated_client(document):
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))
    for name, operation in _operations(document).items():
        assert re.fullmatch(r"[a-z][A-Za-z]+", name)
        assert operation["summary"], name
        assert operation["tags"], name


def test_every_error_is_a_problem_document_with_an_example(document):
    validator = Draft202012Validator(document["components"]["schemas"]["Problem"])
    for name, operation in _operations(document).items():
        for status, response in operation["responses"].items():
            if int(status) < 400 or name == "readyz":
                continue
            ((media_type, content),) = response["content"].items()
            assert media_type == "application/problem+json", name
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            validator.validate(content["example"])
            assert content["example"]["status"] == int(status)


def test_long_work_says_where_to_look(document):
    for name, operation in _operations(document).items():
        if "202" in operation["responses"] and operation.get("security"):
            headers = operation["responses"]["202"].get("headers", {})
            assert "Location" in headers or name == "testNotificationRule", name


def test_422_is_told_only_where_the_design_has_it(document):
    told = {name for name, op in _operations(document).items() if "422" in op["responses"]}
    assert told == {"train", "analyse"}


def test_no_schema_of_fastapis_own_errors_is_left(document):
    assert "ValidationError" not in str(document)
