"""Files to and from a gateway: whole, resumed, and not fetched twice."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from actverse import transfers
from actverse.client import Client
from components.errors import BadInput, Refused, TooLarge, Unavailable
from tests.actverse.conftest import Gateway, new_gateway
from tests.helpers.relay import Relay
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.web import Answer, body

FILES = {
    "chunks/result_chunk_0.json": b"{}",
    "empty.csv": b"",
    "overlaid_results.mp4": bytes(range(256)) * 40_000,
    "results.json": b"[]",
}


@pytest.fixture
def task_id(gateway: Gateway) -> str:
    """A task with results."""
    task_id = gateway.task("inference")
    write(gateway, task_id, FILES)
    return task_id


def write(gateway: Gateway, task_id: str, files: dict[str, bytes]) -> None:
    folder = gateway.settings.layout.results(task_id)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1e9, 1e9))


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_results_are_downloaded_whole_and_only_once(gateway, client, task_id, tmp_path):
    told: list[tuple[float, float]] = []

    def progress(done: float, total: float, **facts: Any) -> None:
        told.append((done, total))

    paths = client.download_results(task_id, tmp_path / "out", progress=progress)
    assert found(tmp_path / "out") == FILES
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == list(FILES)
    total = sum(map(len, FILES.values()))
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    inodes = {path: path.stat().st_ino for path in paths}
    again = {"results.json": b"{}", "empty.csv": b"x"}
    # As large as before, and written later.
    write(gateway, task_id, again)
    later = paths[3].stat().st_mtime + 60
    os.utime(gateway.settings.layout.results(task_id) / "results.json", (later, later))
    paths[0].write_bytes(b"cut off"[:1])
    client.download_results(task_id, tmp_path / "out", progress=progress)
    assert found(tmp_path / "out") == FILES | again
    assert told[-1] == (total + 1, total + 1)
    same = {path.name for path in paths if path.stat().st_ino == inodes[path]}
    assert same == {"overlaid_results.mp4"}


def test_a_download_that_is_cut_off_goes_on_where_it_was(gateway, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_WAITS", (0.0,) * 5)
    # So much more than what is in the sockets' buffers when they are cut.
    files = {"a.json": b"[]", "overlaid_results.mp4": bytes(range(256)) * 200_000}
    task_id = gateway.task("inference")
    write(gateway, task_id, files)
    starts: list[int] = []
    headers = transfers._Download._headers

    def remembering(download: transfers._Download) -> dict[str, str]:
        made = headers(download)
        if "Range" in made:
            starts.append(int(made["Range"].removeprefix("bytes=").rstrip("-")))
        return made

    monkeypatch.setattr(transfers._Download, "_headers", remembering)
    relay = Relay(gateway.port)
    relay.open()

    def progress(done: float, total: float, **facts: Any) -> None:
        if len(starts) < 2 and done > (starts or [0])[-1] + 1_000_000:
            relay.cut()

    try:
        with Client(f"http://127.0.0.1:{relay.port}", gateway.key("ada")) as client:
            client.download_results(task_id, tmp_path / "out", progress=progress)
    finally:
        relay.close()
    assert found(tmp_path / "out") == files
    assert len(starts) == 2
    assert 1_000_000 < starts[0] < starts[1]


def test_an_upload_that_is_cut_off_is_sent_again(gateway, tmp_path, monkeypatch):
    monkeypatch.setattr("actverse.rest._WAITS", (0.0,) * 3)
    content = os.urandom(8_000_000)
    (tmp_path / "a.bin").write_bytes(content)
    relay = Relay(gateway.port)
    relay.open()
    cut = threading.Event()
    told: list[float] = []

    def progress(done: float, total: float, **facts: Any) -> None:
        told.append(done)
        if done > 3_000_000 and not cut.is_set():
            cut.set()
            relay.cut()

    try:
        with Client(f"http://127.0.0.1:{relay.port}", gateway.key("una")) as client:
            list(client.files())  # it is connected now, and can be cut
            client.upload_file(tmp_path / "a.bin", "a.bin", progress=progress)
    finally:
        relay.close()
    stored = gateway.settings.layout.root / "users" / "una" / "a.bin"
    assert stored.read_bytes() == content
    assert cut.is_set()
    assert told[-1] == len(content)
    assert told != sorted(told)


def test_a_file_that_is_too_large_is_refused_and_ends_the_sending(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_AT_A_TIME", 1)
    made = new_gateway(tmp_path / "home", max_upload_bytes=1000)
    made.start()
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.bin").write_bytes(bytes(1001 if number == 1 else 10))
    try:
        with made.client() as client:
            with pytest.raises(TooLarge, match="1000"):
                client.create_task(folder / "1.bin")
            assert list(client.files()) == []
            with pytest.raises(TooLarge, match="1000"):
                client.upload_folder(folder, "many")
            assert [file["key"] for file in client.files()] == ["many/0.bin"]
    finally:
        made.kill()


def test_many_files_wait_where_requests_are_limited(tmp_path):
    made = new_gateway(tmp_path / "home", rate_limit="20/second")
    made.start()
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.txt").write_bytes(b"x")
    try:
        with made.client() as client:
            client.upload_folder(folder, "many")
            assert len(list(client.files())) == 50
    finally:
        made.kill()


def test_a_file_that_grows_while_it_is_sent_is_refused(gateway, client, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 10)

    def progress(done: float, total: float, **facts: Any) -> None:
        if not done:
            with path.open("ab") as file:
                file.write(b"y")

    with pytest.raises(BadInput, match="changes while it is sent"):
        client.upload_file(path, "growing.bin", progress=progress)
    assert "growing.bin" not in [file["key"] for file in client.files()]


# Scripted gateways


def listing(*names: str, size: int, link: str = "") -> Answer:
    files = [
        {"path": name, "bytes": size, "modified": "2030-01-01T00:00:00Z", "link": link}
        for name in names
    ]
    return body(json.dumps({"complete": True, "files": files, "after": None}).encode())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedWeb]:
    monkeypatch.setattr(transfers, "_WAITS", (0.0,) * 3)
    with scripted_web() as web:
        yield web


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "a\\b", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(web, tmp_path, name):
    web.scripts["/tasks/t-1/results"] = [listing(name, size=1)]
    with Client(web.url(""), "av_x") as client, pytest.raises(Refused):
        client.download_results("t-1", tmp_path / "out")
    assert found(tmp_path) == {}


def test_a_link_in_the_folder_does_not_lead_out_of_it(web, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "chunks").symlink_to(tmp_path)
    web.scripts["/tasks/t-1/results"] = [listing("chunks/a", size=1)]
    with Client(web.url(""), "av_x") as client, pytest.raises(Refused):
        client.download_results("t-1", tmp_path / "out")


@pytest.mark.parametrize("content", [b"shorter", b"a longer one"])
def test_a_file_of_another_size_than_listed_is_not_kept(web, tmp_path, content):
    web.scripts["/tasks/t-1/results"] = [listing("a.json", size=10)]
    web.scripts["/tasks/t-1/results/a.json"] = [body(content)]
    (tmp_path / "a.json").write_bytes(b"old")
    told = pytest.raises(Unavailable, match=f"{len(content)} bytes, not 10")
    with Client(web.url(""), "av_x") as client, told:
        client.download_results("t-1", tmp_path)
    assert found(tmp_path) == {"a.json": b"old"}


def test_one_that_has_changed_before_it_was_resumed_is_fetched_anew(web, tmp_path):
    def cut_off(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.send_header("ETag", '"old"')
        handler.end_headers()
        handler.wfile.write(b"old")

    asked: list[tuple[str | None, str | None]] = []

    def changed(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.headers["Range"], handler.headers["If-Range"]))
        body(b"new" + b"!" * 7, ETag='"new"')(handler)

    web.scripts["/tasks/t-1/results"] = [listing("a.json", size=10)]
    web.scripts["/tasks/t-1/results/a.json"] = [cut_off, changed]
    with Client(web.url(""), "av_x") as client:
        client.download_results("t-1", tmp_path)
    assert asked == [("bytes=3-", '"old"')]
    assert found(tmp_path) == {"a.json": b"new!!!!!!!"}


def test_a_presigned_link_is_fetched_without_the_key(web, tmp_path):
    keys: list[str | None] = []

    def store(handler: BaseHTTPRequestHandler) -> None:
        keys.append(handler.headers["X-API-Key"])
        body(b"from s3!!!")(handler)

    with scripted_web() as s3:
        s3.scripts["/bucket/a"] = [store]
        link = s3.url("/bucket/a?X-Amz-Signature=1")
        web.scripts["/tasks/t-1/results"] = [listing("a.json", size=10, link=link)]
        with Client(web.url(""), "av_x") as client:
            client.download_results("t-1", tmp_path)
    assert keys == [None]
    assert found(tmp_path) == {"a.json": b"from s3!!!"}
    assert "/tasks/t-1/results/a.json" not in web.requests


@pytest.mark.parametrize("answer", [body(b"<expired/>", 403), body(b"short"), None])
def test_where_a_link_leads_nowhere_the_gateway_is_asked(web, tmp_path, answer):
    web.scripts["/tasks/t-1/results/a.json"] = [body(b"0123456789")]
    with scripted_web() as s3:
        s3.scripts["/bucket/a"] = [answer or body(b"")]
        link = s3.url("/bucket/a") if answer else "http://no-such-host.invalid/a"
        web.scripts["/tasks/t-1/results"] = [listing("a.json", size=10, link=link)]
        with Client(web.url(""), "av_x") as client:
            client.download_results("t-1", tmp_path)
    assert found(tmp_path) == {"a.json": b"0123456789"}
