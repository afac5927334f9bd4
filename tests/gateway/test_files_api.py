"""A user's own files over REST: sent, listed, fetched, deleted."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from components.settings import Settings
from gateway.models import Step, now
from tests.helpers.tasks import set_step

CONTENT = bytes(range(200))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        max_upload_bytes=1000,
        max_request_bytes=500,
    )


def _all(settings: Settings) -> list[Path]:
    return [path for path in settings.layout.root.rglob("*") if path.is_file()]


def test_a_file_comes_back_as_it_was_sent(client: TestClient, settings):
    sent = client.put("/files/clips/a b+ü.mp4", content=CONTENT)
    assert sent.status_code == 201, sent.text
    assert (sent.json()["key"], sent.json()["bytes"]) == ("clips/a b+ü.mp4", 200)
    got = client.get("/files/clips/a b+ü.mp4")
    assert (got.status_code, got.content) == (200, CONTENT)
    assert got.headers["content-type"] == "video/mp4"
    assert got.headers["content-length"] == "200"
    assert got.headers["content-disposition"].startswith("attachment")
    again = client.put("/files/clips/a b+ü.mp4", content=b"new")
    assert again.status_code == 200
    assert client.get("/files/clips/a b+ü.mp4").content == b"new"
    assert len(_all(settings)) == 1


def test_what_a_page_could_run_is_not_shown_by_a_browser(client: TestClient):
    client.put("/files/evil.html", content=b"<script>1</script>")
    headers = client.get("/files/evil.html").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''evil.html"
    assert headers["content-security-policy"] == "sandbox"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=0-9", 206, CONTENT[:10], "bytes 0-9/200"),
        ("bytes=190-", 206, CONTENT[190:], "bytes 190-199/200"),
        ("bytes=-10", 206, CONTENT[190:], "bytes 190-199/200"),
        ("bytes=-999", 206, CONTENT, "bytes 0-199/200"),
        ("bytes=150-999", 206, CONTENT[150:], "bytes 150-199/200"),
        ("bytes=199-199", 206, CONTENT[199:], "bytes 199-199/200"),
        ("bytes=200-", 416, None, "bytes */200"),
        ("bytes=-0", 416, None, "bytes */200"),
        ("bytes=9-3", 200, CONTENT, None),
        ("bytes=-", 200, CONTENT, None),
        ("bytes=0-1,5-6", 200, CONTENT, None),
        ("frames=0-1", 200, CONTENT, None),
        ("bytes=" + "9" * 500 + "-", 200, CONTENT, None),
    ],
)
def test_a_range_is_given_as_asked(client, asked, status, content, content_range):
    client.put("/files/a.bin", content=CONTENT)
    got = client.get("/files/a.bin", headers={"Range": asked})
    assert got.status_code == status
    assert got.headers.get("content-range") == content_range
    if content is not None:
        assert got.content == content
        assert got.headers["content-length"] == str(len(content))


def test_a_range_of_a_file_that_has_changed_is_all_of_it(client: TestClient):
    client.put("/files/a.bin", content=CONTENT)
    etag = client.get("/files/a.bin").headers["etag"]
    headers = {"Range": "bytes=0-1", "If-Range": etag}
    assert client.get("/files/a.bin", headers=headers).status_code == 206
    client.put("/files/a.bin", content=CONTENT + b"more")
    assert client.get("/files/a.bin", headers=headers).status_code == 200


def test_an_empty_file_is_one_too(client: TestClient):
    assert client.put("/files/empty", content=b"").json()["bytes"] == 0
    assert client.get("/files/empty").content == b""
    assert client.get("/files/empty", headers={"Range": "bytes=0-"}).status_code == 416


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_too_large_leaves_what_was_there(client, settings, announced: bool):
    client.put("/files/a.bin", content=CONTENT)
    body = b"x" * 1001 if announced else iter([b"x" * 600, b"x" * 401])
    answer = client.put("/files/a.bin", content=body)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:actverse:problem:TooLarge"
    assert client.get("/files/a.bin").content == CONTENT
    assert len(_all(settings)) == 1


@pytest.mark.parametrize(
    "key",
    [
        "%2e%2e/bob/a.mp4",
        "a/%2e%2e/%2e%2e/bob/a.mp4",
        "%2fetc/passwd",
        "a%5cb",
        "a%00b",
        "a//b",
        "a/%2e/b",
        "%2e",
        "x" * 300,
        "a/" * 500 + "a",
        "x" * 2000,
    ],
)
def test_no_key_leads_out_of_ones_own_files(client, bob, settings, key: str):
    assert bob.put("/files/a.mp4", content=b"bob's").status_code == 201
    # A path in plain text would be tidied up by the client.
    url = httpx.URL("http://testserver/files/x").copy_with(raw_path=b"/files/" + key.encode())
    for method in ("GET", "PUT", "DELETE"):
        answer = client.request(method, url, content=b"x" if method == "PUT" else None)
        assert answer.status_code == 400, (method, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert [path.read_bytes() for path in _all(settings)] == [b"bob's"]


@pytest.mark.parametrize("key", ["a.mp4/b", "folder", ".hidden", "folder/.x"])
def test_a_key_that_cannot_be_written_is_refused(client, settings, key: str):
    client.put("/files/a.mp4", content=b"1")
    client.put("/files/folder/b.mp4", content=b"1")
    assert client.put(f"/files/{key}", content=b"2").status_code == 400
    assert sorted(path.read_bytes() for path in _all(settings)) == [b"1", b"1"]


def test_files_are_listed_in_pages_by_key(client: TestClient, bob: TestClient):
    keys = ["a/1", "a/2", "a/3", "b", "c/d/e"]
    for key in reversed(keys):
        client.put(f"/files/{key}", content=b"1")
    bob.put("/files/other", content=b"1")
    seen, url = [], "/files/?limit=2"
    while url:
        page = client.get(url).json()
        assert len(page["files"]) <= 2
        seen += [file["key"] for file in page["files"]]
        url = page["next"]
    assert seen == keys
    folder = client.get("/files/", params={"prefix": "a/", "limit": 2}).json()
    assert [file["key"] for file in folder["files"]] == ["a/1", "a/2"]
    rest = client.get(folder["next"]).json()
    assert ([file["key"] for file in rest["files"]], rest["next"]) == (["a/3"], None)
    assert client.get("/files/", params={"prefix": "nowhere"}).json()["files"] == []
    for bad in ({"prefix": ".."}, {"after": "../x"}, {"limit": 0}, {"limit": 1001}):
        assert client.get("/files/", params=bad).status_code == 400


def test_files_are_deleted_once(client: TestClient, bob: TestClient):
    for key in ("a/1", "a/2", "b"):
        client.put(f"/files/{key}", content=b"1")
    bob.put("/files/b", content=b"1")
    assert client.delete("/files/b").json() == {"key": "b", "files": 1}
    assert client.delete("/files/b").status_code == 404
    assert client.delete("/files/a").json() == {"key": "a", "files": 2}
    assert client.get("/files/a/1").status_code == 404
    client.put("/files/c", content=b"1")
    assert client.delete("/files/").status_code == 405
    assert client.get("/files/c").status_code == 200
    assert bob.get("/files/b").status_code == 200


def test_an_administrator_reaches_everybodys_and_a_user_only_theirs(client, bob, admin):
    bob.put("/files/a", content=b"bob's")
    assert admin.get("/files/a", params={"user_id": "bob"}).content == b"bob's"
    for method in ("GET", "PUT", "DELETE"):
        answer = client.request(method, "/files/a", params={"user_id": "bob"})
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:actverse:problem:Forbidden"
    assert client.get("/files/", params={"user_id": "bob"}).status_code == 403
    assert admin.get("/files/", params={"user_id": "../x"}).status_code == 400


def test_labels_that_are_sent_to_a_project_are_looked_at_soon(client, bob, sessions):
    client.put("/files/a.mp4", content=b"1")
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    later = now() + timedelta(hours=1)

    def due(sender: TestClient, key: str) -> bool:
        set_step(sessions, task_id, "labels", state="waiting", not_before=later, queued=later)
        assert sender.put(f"/files/{key}", content=b"").is_success
        with sessions() as session:
            (step,) = session.scalars(select(Step).where(Step.name == "labels"))
            return step.not_before is None and step.queued is None

    label = f"labeling/arena-{task_id}/labels/frame_000001.txt"
    assert due(client, label)
    assert not due(client, "labels/frame_000001.txt")
    assert not due(bob, label)
    assert not due(client, "labeling/arena-t-0123456789ab/labels/a.txt")
