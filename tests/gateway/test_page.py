"""The live page: what it is made of, and what a real browser makes of it."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.events import EventName, record_event, touch
from gateway.leases import claim_step, fail_step, finish_step, note_progress, release_step
from gateway.models import Task
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.browser import Tab, missing_browser, running_browser
from tests.helpers.gateways import running_gateway
from tests.helpers.servers import wait_until
from tests.helpers.tasks import set_step, succeed
from tests.helpers.videos import write_video

HOSTILE = "<img src=x onerror=\"window.owned='yes'\">"
PARTS = sorted(file.name for file in (files("gateway") / "page").iterdir())
LEASE = timedelta(minutes=5)

in_a_browser = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())


def _source(name: str) -> str:
    return (files("gateway") / "page" / name).read_text()


def _policy(answer: Any) -> dict[str, str]:
    parts = [part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")]
    return {name: "".join(value) for name, *value in parts}


@pytest.mark.parametrize("address", ["/", *(f"/page/{name}" for name in PARTS)])
def test_every_part_is_sent_without_a_key_under_a_strict_policy(
    settings: Settings, sessions: Sessions, address: str
) -> None:
    answer = TestClient(create_app(settings)).get(address)
    assert answer.status_code == 200
    assert answer.text == _source(address.removeprefix("/page/").strip("/") or "index.html")
    kinds = {"js": "text/javascript", "css": "text/css"}
    kind = kinds.get(address.rpartition(".")[2], "text/html")
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    assert _policy(answer) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "media-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_videos_may_come_from_where_presigned_links_lead(
    settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    settings = settings.model_copy(
        update={"root": "s3://lab/actverse", "s3_endpoint": "http://127.0.0.1:9"}
    )
    answer = TestClient(create_app(settings)).get("/")
    assert _policy(answer)["media-src"] == "blob: http://127.0.0.1:9"


def test_page_is_no_part_of_the_rest_interface(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert "/" not in paths
    assert not [path for path in paths if path.startswith("/page")]
    answer = client.get("/page/secret.js")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:actverse:problem:NotFound"


def test_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = _source("index.html")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page)
    loaded += [
        f"page/{name}"
        for part in PARTS
        for name in re.findall(r'from "\./([^"]+)"', _source(part))
        if part.endswith(".js")
    ]
    for address in loaded:
        assert address == "data:," or client.get(f"/{address}").status_code == 200
    for part in PARTS:
        text = _source(part).replace('placeholder="https://example.org/mouse.mp4"', "")
        assert not re.search(r"https?://\w|[\"'(]//|@import|url\(", text), part


def test_page_runs_no_text_as_markup_or_script() -> None:
    page = _source("index.html")
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", page)
    for part in PARTS:
        if part.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|srcdoc",
                _source(part),
            ), part


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with running_browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


def _sign_in(tab: Tab, url: str, key: str) -> None:
    tab.open(f"{url}/")
    for told in (tab.complaints, tab.requested, tab.sent):
        told.clear()
    tab.wait_for("document.activeElement.id === 'key'")
    tab.type("#key", key)
    tab.press("Enter")
    tab.wait_for("document.getElementById('tasks')")


def _click(tab: Tab, selector: str) -> None:
    tab.wait_for(f"document.querySelector({selector!r})")
    tab.run(f"document.querySelector({selector!r}).click()")


def _claim(sessions: Sessions, task_id: str, name: str) -> int:
    with sessions.begin() as session:
        step = claim_step(session, task_id, name, "worker", LEASE)
        assert step is not None
        return step.id


def _texts(folder: Path) -> list[str]:
    """What lies in a folder; nothing while a file is just being given its name."""
    try:
        return [file.read_text() for file in folder.glob("*")]
    except FileNotFoundError:
        return []


def _assert_harmless(tab: Tab, url: str, key: str) -> None:
    """Nothing was run, nobody else was asked, no address told the key."""
    assert tab.run("window.owned") is None
    assert tab.run("document.images.length") == 0
    asked = [urlsplit(address) for address in tab.requested]
    assert {part.netloc for part in asked if part.scheme not in ("data", "blob")} == {
        urlsplit(url).netloc
    }
    assert not [address for address in tab.requested if key in address]
    assert key not in tab.run("location.href + document.cookie + JSON.stringify(localStorage)")
    said = [words for words in tab.complaints if "Error in connection establishment" not in words]
    assert not [words for words in said if "violates" in words or "Error" in words]


@in_a_browser
def test_a_task_is_seen_live_also_after_the_gateway_was_away(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str
) -> None:
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "loop", Work(file_path="a.mp4")).id
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, f"a[href='#{task_id}']")
        tab.wait_for("document.getElementById('state').textContent === 'queued'")
        download = _claim(sessions, task_id, "download")
        with sessions.begin() as session:
            note_progress(session, download, "worker", 10e6, 40e6, {})
        tab.wait_for("document.getElementById('steps').innerText.includes('10.0 MB of 40.0 MB')")
        with sessions.begin() as session:
            facts = {"file": HOSTILE, "bytes": 40_000_000}
            task = finish_step(session, download, "worker", facts)
            record_event(session, task, EventName.VIDEO_DOWNLOADED, {"step": HOSTILE, **facts})
            touch(task)
        tab.wait_for("document.getElementById('timeline').children.length === 1")
        assert tab.text("#timeline").count(HOSTILE) == 2
    tab.wait_for("document.getElementById('link').textContent.includes('lost')")
    fault = f"The video {HOSTILE} cannot be decoded: send another one."
    with sessions.begin() as session:
        fail_step(session, _claim(sessions, task_id, "validate"), "worker", fault, None)
    with running_gateway(create_app(settings), urlsplit(url).port or 0):
        tab.wait_for("document.getElementById('state').textContent === 'failed'")
        assert tab.text("#error") == fault
        events = "[...document.querySelectorAll('#timeline strong')].map((e) => e.textContent)"
        assert tab.run(events) == ["Step failed", "Video downloaded"]
        first, *_, last = (json.loads(frame) for frame in tab.sent)
        assert first == {"api_key": api_key, "last_event_id": 0}
        assert last["last_event_id"] > 1
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=400,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        assert tab.run("document.documentElement.scrollWidth") == 400
        _click(tab, "nav a")
        tab.wait_for("document.getElementById('tasks')?.children.length === 1")
        assert fault in tab.text("#tasks")
        _assert_harmless(tab, url, api_key)


def _wait_for_labels(sessions: Sessions, project: dict[str, Any], skipped: int = 0) -> str:
    """A task of which 5 of 48 frames are labelled."""
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "loop", Work(file_path="a.mp4")).id
        steps = [step.name for step in read_task(session, task_id).steps]
    for name in steps[: steps.index("labels")]:
        step = _claim(sessions, task_id, name)
        with sessions.begin() as session:
            finish_step(session, step, "worker", project if name == "labeling" else {})
    _look_at_labels(sessions, task_id, 5, skipped)
    return task_id


def _look_at_labels(sessions: Sessions, task_id: str, labelled: int, skipped: int) -> None:
    labels = _claim(sessions, task_id, "labels")
    with sessions.begin() as session:
        facts, wait = {"skipped": skipped}, timedelta(seconds=-1)
        release_step(session, labels, "worker", labelled + skipped, 48, wait, facts=facts)


@in_a_browser
def test_who_is_to_label_is_led_to_label_studio(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str
) -> None:
    address = "http://127.0.0.1:8080/projects/7/data"
    project = {"tool": "label-studio", "project": "7", "url": address, "frames": 48}
    task_id = _wait_for_labels(sessions, project)
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, f"a[href='#{task_id}']")
        tab.wait_for("document.getElementById('waiting')?.offsetHeight")
        assert tab.text("#waiting").split("\n") == [
            "Waiting for people: 5 of 48 frames are labelled.",
            *("", "Label in Label Studio"),
        ]
        link = "document.querySelector('#waiting a')"
        assert tab.run(f"{link}.href") == address
        assert tab.run(f"[{link}.target, {link}.rel].join()") == "_blank,noopener noreferrer"
        _look_at_labels(sessions, task_id, 40, 2)
        tab.wait_for("document.getElementById('labelled').innerText.includes('40 of')")
        assert "40 of 48 frames are labelled, 2 skipped." in tab.text("#waiting")
        _assert_harmless(tab, url, api_key)


@in_a_browser
def test_a_training_on_kubeflow_is_linked_and_its_silence_told(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str
) -> None:
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "training", Work(labels_path="labels/mice")).id
    set_step(sessions, task_id, "labels", state="succeeded")
    with sessions.begin() as session:
        step = claim_step(session, task_id, "training", "worker", LEASE)
    page = "https://kubeflow.example/pipeline/#/runs/details/r-1"
    run = {"backend": "kubeflow", "run_id": "r-1", "url": page, "state": "RUNNING", "note": ""}

    def tell(**changes: str) -> None:
        with sessions.begin() as session:
            note_progress(session, step.id, "worker", 1, 6, {"run": run | changes})

    tell()
    link = "document.querySelector('#run a')"
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, f"a[href='#{task_id}']")
        tab.wait_for("document.getElementById('run')?.offsetHeight")
        assert tab.text("#run").strip() == "The training in Kubeflow Pipelines"
        assert tab.run(f"{link}.href") == page
        assert tab.run(f"[{link}.target, {link}.rel].join()") == "_blank,noopener noreferrer"
        tell(url="javascript:owned='yes'", note=f"It does not answer: {HOSTILE}")
        tab.wait_for("document.getElementById('run').innerText.includes('not answer')")
        assert tab.run(f"{link}.offsetHeight") == 0
        _assert_harmless(tab, url, api_key)


@in_a_browser
@pytest.mark.parametrize(
    "project",
    [
        {"tool": "folder", "project": "labeling/a", "url": ""},
        {"project": "labeling/a"},
        {"tool": "label-studio", "project": "7", "url": "javascript:owned='yes'"},
        {"tool": "label-studio", "project": "7", "url": " javascript://x/%0aowned='yes'"},
    ],
)
def test_nothing_but_an_address_of_the_web_is_a_link(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str, project: dict[str, Any]
) -> None:
    task_id = _wait_for_labels(sessions, project, skipped=1)
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, f"a[href='#{task_id}']")
        tab.wait_for("document.getElementById('waiting')?.offsetHeight")
        said = tab.text("#waiting")
        assert "5 of 48 frames are labelled, 1 skipped." in said
        assert "Label Studio" not in said
        assert ("labeling/a/images" in said) == (project["project"] == "labeling/a")
        assert tab.run("document.querySelector('#waiting a').href") == ""
        _assert_harmless(tab, url, api_key)


@in_a_browser
def test_a_video_is_sent_and_its_task_cancelled(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "mouse.mp4")
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, "nav a[href='#new']")
        _click(tab, "input[value=file]")
        field = tab.call("Runtime.evaluate", expression="document.getElementById('file')")
        tab.call(
            "DOM.setFileInputFiles",
            files=[str(video)],
            objectId=field["result"]["objectId"],
        )
        for name, value in {"names": "mouse , rat", "frames": "12", "epochs": "3"}.items():
            tab.type(f"#{name}", value)
        tab.press("Enter")
        tab.wait_for("document.getElementById('state')?.textContent === 'queued'")
        with sessions() as session:
            task = session.scalars(select(Task)).one()
            request = Work.model_validate(task.request)
        assert request.names == ("mouse", "rat")
        assert (request.num_frames, request.training.epochs, request.task) == (12, 3, "detect")
        stored = settings.layout.root / "users/ada" / request.file_path
        assert stored.read_bytes() == video.read_bytes()
        tab.run("document.getElementById('cancel').focus()")
        tab.press("Enter")
        tab.wait_for("document.getElementById('sure').open")
        tab.press("Escape")
        tab.wait_for("!document.getElementById('sure').open")
        with sessions() as session:
            assert read_task(session, task.id).state == "queued"
        _click(tab, "#cancel")
        _click(tab, "#yes")
        tab.wait_for("document.getElementById('state').textContent === 'cancelled'")
        _assert_harmless(tab, url, api_key)


@in_a_browser
def test_results_are_listed_saved_and_played(
    tab: Tab, settings: Settings, sessions: Sessions, api_key: str, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "inference", Work(file_path="a.mp4")).id
    folder = settings.layout.root / "inference_results" / task_id
    folder.mkdir(parents=True)
    write_video(folder / "overlaid_results.mp4")
    (folder / f"{HOSTILE}?a#b%41").write_text("its words")
    succeed(sessions, task_id)
    downloads = tmp_path / "downloads"
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    with running_gateway(create_app(settings)) as url:
        _sign_in(tab, url, api_key)
        _click(tab, f"a[href='#{task_id}']")
        tab.wait_for("document.querySelectorAll('#files li').length === 2")
        assert HOSTILE in tab.text("#files")
        _click(tab, "[aria-label='Play overlaid_results.mp4']")
        tab.wait_for("document.querySelector('video')?.readyState >= 2")
        _click(tab, "#files li:first-child button")
        wait_until(lambda: _texts(downloads) == ["its words"])
        _assert_harmless(tab, url, api_key)
