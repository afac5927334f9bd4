"""Result files over REST: listed, linked, streamed."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from gateway.app import create_app
from tests.helpers.tasks import set_step

FILES = {
    "chunks/result_chunk_0.json": b"{}",
    "chunks/result_chunk_1.json": b"{}",
    "overlaid_results.mp4": bytes(range(256)),
    "report.ipynb": b"{}",
    "results.csv": b"frame\n",
    "results.json": b"[]",
}


@pytest.fixture
def task_id(client: TestClient) -> str:
    return client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]


@pytest.fixture
def results(task_id: str, settings) -> Path:
    folder = settings.layout.results(task_id)
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / ".results.json.tmp").write_bytes(b"half")
    return folder


def test_before_there_are_any_they_are_not_there(client: TestClient, task_id: str):
    for path in ("", "/results.csv"):
        answer = client.get(f"/tasks/{task_id}/results{path}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:actverse:problem:NotFound"
    assert client.get("/tasks/t-0/results").status_code == 404


def test_results_are_listed_with_links_that_lead_to_them(client, task_id, results, sessions):
    listed = client.get(f"/tasks/{task_id}/results").json()
    assert (listed["complete"], listed["next"]) == (False, None)
    assert {file["path"]: file["bytes"] for file in listed["files"]} == {
        path: len(content) for path, content in FILES.items()
    }
    assert {file["path"]: file["media_type"] for file in listed["files"]} == {
        "chunks/result_chunk_0.json": "application/json",
        "chunks/result_chunk_1.json": "application/json",
        "overlaid_results.mp4": "video/mp4",
        "report.ipynb": "application/x-ipynb+json",
        "results.csv": "text/csv",
        "results.json": "application/json",
    }
    for file in listed["files"]:
        got = client.get(file["link"])
        assert got.content == FILES[file["path"]]
        assert got.headers["content-type"].partition(";")[0] == file["media_type"]
    set_step(sessions, task_id, "results", state="succeeded")
    assert client.get(f"/tasks/{task_id}/results").json()["complete"] is True


def test_results_are_listed_in_pages(client: TestClient, task_id: str, results):
    seen, url = [], f"/tasks/{task_id}/results?limit=4"
    while url:
        page = client.get(url).json()
        seen += [file["path"] for file in page["files"]]
        url = page["next"]
    assert seen == list(FILES)


def test_a_result_is_given_in_ranges(client: TestClient, task_id: str, results):
    url = f"/tasks/{task_id}/results/overlaid_results.mp4"
    got = client.get(url, headers={"Range": "bytes=10-19"})
    assert (got.status_code, got.content) == (206, bytes(range(10, 20)))
    assert client.get(url, headers={"Range": "bytes=256-"}).status_code == 416


@pytest.mark.parametrize(
    "path", ["%2e%2e/x", "chunks/%2e%2e/%2e%2e/secret", "a%00", "%2fetc/passwd", "a//b"]
)
def test_no_path_leads_out_of_the_results(client, settings, task_id, results, path: str):
    (settings.layout.root / "secret").write_bytes(b"secret")
    raw = f"/tasks/{task_id}/results/{path}".encode()
    url = httpx.URL("http://testserver/x").copy_with(raw_path=raw)
    assert client.get(url).status_code == 400


def test_a_link_of_s3_is_presigned_and_needs_no_key(settings, sessions, api_key, s3_settings):
    client = TestClient(create_app(s3_settings), headers={"X-API-Key": api_key})
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    storage = client.app.state.storage
    storage.write(f"inference_results/{task_id}/results.csv", [b"frame\n"], max_bytes=100)
    (file,) = client.get(f"/tasks/{task_id}/results").json()["files"]
    assert urlsplit(file["link"]).netloc == urlsplit(s3_settings.s3_endpoint).netloc
    assert httpx.get(file["link"], trust_env=False).content == b"frame\n"
    own = client.get(f"/tasks/{task_id}/results/results.csv", headers={"Range": "bytes=1-2"})
    assert (own.status_code, own.content) == (206, b"ra")
    assert client.put("/files/a/b.bin", content=b"123").status_code == 201
    assert client.get("/files/a/b.bin").content == b"123"
    assert [file["key"] for file in client.get("/files/").json()["files"]] == ["a/b.bin"]
    assert client.delete("/files/a").json()["files"] == 1


@pytest.fixture
def s3_settings(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The same gateway on a real S3 server process of moto."""
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
            Bucket="actverse"
        )
        yield settings.model_copy(update={"root": "s3://actverse/here", "s3_endpoint": endpoint})
    finally:
        server.stop()
