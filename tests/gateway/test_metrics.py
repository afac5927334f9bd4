"""What Prometheus is told, read back with its own parser."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.heartbeats import beat_once
from gateway.leases import claim_step, finish_step, note_progress
from gateway.models import Attempt, Heartbeat, Step, WebhookDelivery, now
from gateway.promotions import ALIAS_SET
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.servers import wait_until

HOUR = timedelta(hours=1)


def scraped(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels."""
    answer = TestClient(client.app).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: TestClient, name: str, **labels: str) -> float | None:
    return scraped(client).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_route_not_by_address(client: TestClient, api_key: str):
    for task in ("t-1", "t-2", "t-3"):
        assert client.get(f"/status/{task}?secret=hush").status_code == 404
    client.get("/keys/")
    client.get("/no/such/place")
    client.request("BREW", "/keys/")
    counted = {"method": "GET", "route": "/status/{task_id}", "status": "404"}
    assert value(client, "actverse_http_requests_total", **counted) == 3
    counted = {"method": "GET", "route": "/keys/", "status": "200"}
    assert value(client, "actverse_http_requests_total", **counted) == 1
    counted = {"method": "GET", "route": "(none)", "status": "404"}
    assert value(client, "actverse_http_requests_total", **counted) == 1
    timed = {"method": "GET", "route": "/status/{task_id}"}
    assert value(client, "actverse_http_request_duration_seconds_count", **timed) == 3
    said = TestClient(client.app).get("/metrics").text
    for hidden in ("t-1", "hush", "BREW", "no/such", api_key):
        assert hidden not in said


def test_steps_are_counted_by_outcome(client: TestClient, sessions: Sessions):
    with sessions.begin() as session:
        task = create_task(session, "ada", "upload", Work(file_path="a.mp4"))
    with sessions.begin() as session:
        step = claim_step(session, task.id, "download", "w1", -HOUR)
        assert step is not None
    with sessions.begin() as session:
        step = claim_step(session, task.id, "download", "w2", HOUR)
        assert step is not None
        finish_step(session, step.id, "w2", {})
        session.query(Attempt).filter_by(holder="w2").update(
            {"started": now() - timedelta(seconds=30), "ended": now()}
        )
    succeeded = {"step": "download", "outcome": "succeeded"}
    assert value(client, "actverse_step_attempts_total", **succeeded) == 1
    assert value(client, "actverse_step_duration_seconds_count", **succeeded) == 1
    seconds = value(client, "actverse_step_duration_seconds_sum", **succeeded)
    assert seconds == pytest.approx(30, abs=1)
    assert value(client, "actverse_leases_recovered_total", step="download") == 1
    assert value(client, "actverse_queue_depth", queue="video") == 1
    assert value(client, "actverse_queue_depth", queue="labeling") == 0
    assert value(client, "actverse_tasks", state="running") == 1
    assert value(client, "actverse_tasks", state="failed") == 0


def test_analysed_frames_and_their_pace_are_told(client: TestClient, sessions: Sessions):
    with sessions.begin() as session:
        task = create_task(session, "ada", "inference", Work(file_path="a.mp4"))
        for step in task.steps:
            if step.name in ("download", "validate", "convert"):
                step.state = "succeeded"
    with sessions.begin() as session:
        step = claim_step(session, task.id, "analyse", "w", HOUR)
        assert step is not None
        note_progress(session, step.id, "w", 500, 1000, {})
    with sessions.begin() as session:
        session.get_one(Step, step.id).started = now() - timedelta(seconds=10)
    assert value(client, "actverse_analysed_frames_total") == 500
    pace = value(client, "actverse_analysis_frames_per_second")
    assert pace is not None
    assert 0 < pace <= 50
    with sessions.begin() as session:
        assert read_task(session, task.id).state == "running"


def test_promotions_and_heartbeats_are_told(client: TestClient, sessions: Sessions):
    outcomes = ("promoted 3", "promoted 4", "failed 5 The probe differs.", "")
    with sessions.begin() as session:
        for number, outcome in enumerate(outcomes):
            session.add(
                WebhookDelivery(
                    source="mlflow",
                    delivery_id=str(number),
                    event=ALIAS_SET,
                    data={},
                    handled=now(),
                    outcome=outcome,
                )
            )
        session.add(Heartbeat(name="beat", seen=now() - timedelta(seconds=40)))
    beat_once(sessions, "watcher")
    assert value(client, "actverse_promotions_total", outcome="promoted") == 2
    assert value(client, "actverse_promotions_total", outcome="failed") == 1
    assert value(client, "actverse_promotions_total", outcome="skipped") == 0
    age = value(client, "actverse_heartbeat_age_seconds", part="beat")
    assert age is not None
    assert age >= 40
    assert value(client, "actverse_heartbeat_age_seconds", part="watcher") < age


def test_watchers_are_counted_while_they_watch(client: TestClient, sessions: Sessions):
    with sessions.begin() as session:
        task = create_task(session, "ada", "upload", Work(file_path="a.mp4"))
    assert value(client, "actverse_watchers") == 0
    with (
        TestClient(client.app, headers=client.headers) as served,
        served.websocket_connect(f"/ws/tasks/{task.id}") as websocket,
    ):
        websocket.receive_json()
        assert value(client, "actverse_watchers") == 1
    wait_until(lambda: value(client, "actverse_watchers") == 0, 10)


def test_a_database_that_is_away_costs_only_what_is_read_from_it(
    settings: Settings, tmp_path: Path
):
    client = TestClient(create_app(settings))  # without its tables
    client.get("/healthz")
    assert value(client, "actverse_database_up") == 0
    healthz = {"method": "GET", "route": "/healthz", "status": "200"}
    assert value(client, "actverse_http_requests_total", **healthz) == 1


def test_many_scrapes_ask_the_database_once(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    from sqlalchemy import event

    monkeypatch.setattr("gateway.metrics._FRESH_SECONDS", 3600.0)
    engine: Engine = client.app.state.sessions.kw["bind"]
    asked = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    scraped(client)
    first = len(asked)
    assert first < 15
    for _ in range(5):
        scraped(client)
    assert len(asked) == first


def test_names_follow_prometheus_conventions(client: TestClient):
    said = TestClient(client.app).get("/metrics").text
    families = list(text_string_to_metric_families(said))
    own = [family for family in families if family.name.startswith("actverse_")]
    assert len(own) >= 13
    for family in own:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(s.name.endswith(("_total", "_created")) for s in family.samples)
        else:
            assert not family.name.endswith("_total")
    assert len({family.name for family in families}) == len(families)
    assert "process_resident_memory_bytes" in said
