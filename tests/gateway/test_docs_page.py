"""The page that describes the REST interface."""

import re

from fastapi.testclient import TestClient


def test_the_page_needs_nothing_from_the_network(client: TestClient):
    page = client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert sources
    assert not [source for source in sources if "//" in source]
    assert all(client.get(source).status_code == 200 for source in sources)


def test_the_description_names_every_endpoint_and_its_problems(client: TestClient):
    described = client.get("/openapi.json").json()["paths"]
    assert set(described) == {
        "/tasks/",
        "/status/{task_id}",
        "/webhooks/mlflow",
        "/healthz",
        "/readyz",
    }
    assert {"202", "400", "401"} <= set(described["/tasks/"]["post"]["responses"])
    assert "422" not in described["/tasks/"]["post"]["responses"]
