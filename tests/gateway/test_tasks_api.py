"""Tasks over REST: posted, listed, cancelled."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from gateway.app import create_app
from gateway.models import IdempotencyKey, Task
from gateway.problems import MEDIA_TYPE
from tests.helpers.tasks import set_step, succeed

BODY = {"file_path": "clips/a.mp4", "labels_path": "labels"}


def _post(client: TestClient, **change) -> str:
    answer = client.post("/tasks/", json={**BODY, **change})
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def _tasks(sessions) -> list[Task]:
    with sessions() as session:
        return list(session.scalars(select(Task)))


def _waiting_messages(settings) -> int:
    return len(list((settings.home / "broker" / "messages").iterdir()))


def test_a_posted_task_can_be_looked_at(client: TestClient):
    created = client.post("/tasks/", json=BODY)
    assert created.status_code == 202
    status = client.get(created.headers["location"]).json()
    assert status["task_id"] == created.json()["task_id"]
    assert status["user_id"] == "ada"
    process = status["process_status"]
    assert process["state"] == "queued"
    assert [step["name"] for step in process["steps"]] == [
        "download", "validate", "convert", "extract", "preannotate", "labeling", "labels",
        "dataset", "train", "export", "parity", "register", "gate", "deploy",
        "analyse", "csv", "json", "chunks", "overlay", "notebook", "results",
    ]  # fmt: skip


def test_a_posted_task_is_sent_to_the_broker(client, settings):
    _post(client)
    assert _waiting_messages(settings) == 1


def test_a_broker_that_is_away_costs_the_caller_nothing(settings, sessions, api_key):
    settings = settings.model_copy(update={"broker_url": "amqp://127.0.0.1:9"})
    client = TestClient(create_app(settings), headers={"X-API-Key": api_key})
    task_id = _post(client)
    assert client.get(f"/status/{task_id}").json()["process_status"]["state"] == "queued"


def test_without_labels_the_task_is_taken_too(client: TestClient, sessions):
    answer = client.post("/tasks/", json={"file_path": "https://example.org/a.mp4"})
    assert answer.status_code == 202
    assert _tasks(sessions)[0].request == {"file_path": "https://example.org/a.mp4"}


@pytest.mark.parametrize("key", [None, "", "av_wrong"])
def test_without_a_valid_key_nothing_is_told(client: TestClient, key: str | None):
    client.headers.pop("X-API-Key")
    headers = {} if key is None else {"X-API-Key": key}
    for answer in (
        client.post("/tasks/", json=BODY, headers=headers),
        client.get("/tasks/", headers=headers),
        client.delete("/tasks/t-1", headers=headers),
        client.get("/status/t-1", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:actverse:problem:Unauthorized"


def test_another_users_task_is_not_there(client: TestClient, bob: TestClient, admin: TestClient):
    task_id = _post(client)
    for call in (
        lambda who: who.get(f"/status/{task_id}"),
        lambda who: who.get(f"/tasks/{task_id}/results"),
        lambda who: who.get(f"/tasks/{task_id}/results/results.csv"),
        lambda who: who.get(f"/labeling/{task_id}"),
        lambda who: who.get(f"/training/{task_id}"),
        lambda who: who.post("/labeling", json={"folder_path": "frames", "task_id": task_id}),
        lambda who: who.post("/deployments", json={"task_id": task_id}),
        lambda who: who.post(f"/models/{task_id}/inference", json={"data_path": "a.mp4"}),
        lambda who: who.get("/tasks/", params={"after": task_id}),
        lambda who: who.delete(f"/tasks/{task_id}"),
    ):
        answer = call(bob)
        assert answer.status_code == 404, answer.text
        assert answer.json()["type"] == "urn:actverse:problem:NotFound"
        assert "of yours" in answer.json()["detail"]
    assert bob.get("/tasks/").json()["tasks"] == []
    assert [task["task_id"] for task in admin.get("/tasks/").json()["tasks"]] == [task_id]
    assert admin.get(f"/status/{task_id}").status_code == 200
    assert client.get(f"/status/{task_id}").json()["process_status"]["state"] == "queued"


def test_a_user_acts_for_nobody_else_and_an_administrator_does(client, admin, sessions):
    answer = client.post("/tasks/", json={**BODY, "user_id": "bob"})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:actverse:problem:Forbidden"
    assert _tasks(sessions) == []
    _post(client, user_id="ada")
    _post(admin, user_id="bob")
    assert {task.user_id for task in _tasks(sessions)} == {"ada", "bob"}


@pytest.mark.parametrize(
    "change",
    [
        {"file_path": "../bob/secret.mp4"},
        {"file_path": "/etc/passwd"},
        {"file_path": "file:///etc/passwd"},
        {"file_path": "https://user:secret@example.org/a.mp4"},
        {"file_path": "http://["},
        {"file_path": "a\\b.mp4"},
        {"file_path": "a\u0000.mp4"},
        {"labels_path": "../../labels"},
        {"labels_path": "a/../../../b"},
        {"training": {"weights": "/root/model.pt"}},
        {"training": {"weights": "key:../x.pt"}},
        {"training": {"lr0": 1e400}},
        {"training": {"seed": 10**30}},
        {"names": ["a\u0000b"]},
        {"names": ["mouse", "mouse"]},
        {"names": ["mouse", "Mouse"]},
        {"task": "pose", "keypoints": ["a", "a"]},
        {"task": "pose", "names": ["mouse"], "keypoints": ["a", "b"], "flip_idx": [5, 1]},
        {"task": "pose", "flip_idx": [5, 1]},
        {"file_path": ""},
        {"held_out": 1.5},
        {"held_out": float("nan")},
        {"task": "segment"},
        {"training": {"epochs": 0}},
        {"training": {"warmup_epochs": float("inf")}},
        {"unknown": 1},
        {"model_name": "../x"},
    ],
)
def test_what_cannot_be_used_is_refused_by_a_problem_document(client, sessions, change: dict):
    text = json.dumps({**BODY, **change})
    headers = {"content-type": "application/json"}
    answer = client.post("/tasks/", content=text, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert set(answer.json()) == {"type", "title", "status", "detail"}
    assert _tasks(sessions) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"file_path": "a\\ud800"}',
        b'{"a\\ud800": 1}',
        b"[" * 100_000,
        b'{"file_path": "a", "num_frames": ' + b"9" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/tasks/", "/video/download", "/training"])
def test_a_body_that_is_no_sound_json_is_refused(client: TestClient, path: str, text: bytes):
    answer = client.post(path, content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize("path", ["/tasks/", "/video/download"])
def test_a_body_of_another_kind_is_not_supported(client: TestClient, path: str):
    answer = client.post(path, content=b"<a/>", headers={"content-type": "text/xml"})
    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:actverse:problem:UnsupportedMediaType"


def test_a_body_that_is_too_large_is_refused(client: TestClient, settings):
    text = b'{"file_path": "' + b"a" * settings.max_request_bytes + b'"}'
    headers = {"content-type": "application/json"}
    announced = client.post("/tasks/", content=text, headers=headers)
    streamed = client.post("/tasks/", content=iter([text]), headers=headers)
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:actverse:problem:TooLarge"


def test_what_is_not_there_or_not_allowed_is_a_problem_document(client: TestClient):
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:actverse:problem:NotFound")
    answer = client.put("/tasks/")
    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:actverse:problem:MethodNotAllowed"
    assert answer.headers["allow"] == "GET, POST"
    assert answer.headers["content-type"] == MEDIA_TYPE


def test_a_key_is_stored_only_as_a_keyed_hash(settings, sessions, api_key):
    database = (settings.home / "actverse.db").read_bytes()
    wal = settings.home / "actverse.db-wal"
    assert api_key.encode() not in database + (wal.read_bytes() if wal.exists() else b"")


def test_what_nobody_foresaw_is_a_problem_document_without_our_insides(settings, api_key):
    app = create_app(settings)
    upset = TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": api_key})
    assert upset.get("/tasks/").status_code == 200
    app.state.sessions = None
    answer = upset.get("/tasks/")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "NoneType" not in answer.text


# Idempotency


def test_the_same_post_twice_is_one_task(client: TestClient, sessions, settings):
    headers = {"Idempotency-Key": "k-1"}
    first = client.post("/tasks/", json=BODY, headers=headers)
    again = client.post("/tasks/", json=dict(reversed(BODY.items())), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(_tasks(sessions)) == 1
    assert _waiting_messages(settings) == 1


def test_the_key_with_another_body_is_a_conflict(client: TestClient, bob, sessions):
    headers = {"Idempotency-Key": "k-1"}
    client.post("/tasks/", json=BODY, headers=headers)
    answer = client.post("/tasks/", json={**BODY, "file_path": "b.mp4"}, headers=headers)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:actverse:problem:Conflict"
    assert bob.post("/tasks/", json=BODY, headers=headers).status_code == 202
    assert len(_tasks(sessions)) == 2


def test_posts_at_the_same_time_are_one_task(client: TestClient, sessions):
    def post(_: int):
        return client.post("/tasks/", json=BODY, headers={"Idempotency-Key": "k-1"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(_tasks(sessions)) == 1


def test_of_two_that_both_saw_no_key_the_database_lets_one_through(client, sessions):
    """The second finds the first's row only when it writes its own."""
    from gateway.idempotency import make_once
    from gateway.tasks import create_task
    from gateway.work import Work

    def make(session):
        return lambda: create_task(session, "ada", "loop", Work())

    with sessions.begin() as session:

        def overtaken() -> Task:
            with sessions.begin() as other:
                make_once(other, "ada", "k", "d", make(other))
            return make(session)()

        task, replayed = make_once(session, "ada", "k", "d", overtaken)
    assert replayed
    with sessions() as session:
        assert [row.task_id for row in session.scalars(select(IdempotencyKey))] == [task.id]
        assert [row.id for row in session.scalars(select(Task))] == [task.id]


# Lists


def test_tasks_are_listed_in_pages_the_newest_first(client: TestClient, sessions):
    made = [_post(client) for _ in range(5)]
    seen: list[str] = []
    url = "/tasks/?limit=2"
    while url:
        page = client.get(url).json()
        assert len(page["tasks"]) <= 2
        seen += [task["task_id"] for task in page["tasks"]]
        url = page["next"]
        if len(seen) == 2:
            made.append(_post(client))  # what comes meanwhile moves nothing
    assert seen == list(reversed(made[:5]))


def test_tasks_are_listed_by_state(client: TestClient, sessions):
    ended, _ = _post(client), _post(client)
    succeed(sessions, ended)
    page = client.get("/tasks/", params={"state": ["succeeded", "failed"]}).json()
    assert [(task["task_id"], task["percent"]) for task in page["tasks"]] == [(ended, 100)]
    page = client.get("/tasks/", params={"state": ["queued", "succeeded"], "limit": 1}).json()
    assert client.get(page["next"]).json()["tasks"][0]["task_id"] == ended
    assert client.get("/tasks/", params={"state": "lost"}).status_code == 400
    assert client.get("/tasks/", params={"limit": 0}).status_code == 400
    assert client.get("/tasks/", params={"after": "t-0"}).status_code == 404


# Cancelling


def test_a_cancelled_task_says_what_was_kept(client: TestClient, sessions, settings):
    task_id = _post(client)
    set_step(sessions, task_id, "download", state="succeeded")
    set_step(sessions, task_id, "validate", state="running", lease_holder="w1")
    video = settings.layout.video(task_id)
    video.mkdir(parents=True)
    (video / "source.mp4").write_bytes(b"12345")
    own = settings.layout.user_file("ada", f"frames/{task_id}")
    own.mkdir(parents=True)
    (own / "frame_000000.jpg").write_bytes(b"123")
    first = client.delete(f"/tasks/{task_id}")
    assert first.status_code == 200
    answer = first.json()
    assert answer["state"] == "cancelled"
    assert answer["finished_steps"] == ["download"]
    assert answer["cancelled_steps"][:2] == ["validate", "convert"]
    assert answer["kept"] == [
        {"folder": f"videos/{task_id}", "own": False, "files": 1, "bytes": 5},
        {"folder": f"frames/{task_id}", "own": True, "files": 1, "bytes": 3},
    ]
    assert client.get(f"/status/{task_id}").json()["process_status"]["state"] == "cancelled"
    revision = _tasks(sessions)[0].revision
    assert client.delete(f"/tasks/{task_id}").json() == answer
    assert _tasks(sessions)[0].revision == revision
    assert (video / "source.mp4").exists()


def test_a_task_that_has_ended_stays_as_it_is(client: TestClient, sessions):
    task_id = _post(client)
    succeed(sessions, task_id)
    answer = client.delete(f"/tasks/{task_id}").json()
    assert (answer["state"], answer["cancelled_steps"]) == ("succeeded", [])


def test_a_model_name_belongs_to_one_user(client: TestClient, bob: TestClient):
    _post(client, model_name="mice")
    for name in ("mice", "ada-detect", "ada-pose"):
        answer = bob.post("/tasks/", json={**BODY, "model_name": name})
        assert answer.status_code == 409, name
        assert answer.json()["type"] == "urn:actverse:problem:Conflict"
    _post(client, model_name="mice")
    _post(client, model_name="ada-pose")
    _post(bob)


def test_the_folder_of_a_user_is_never_left_by_a_link(client, sessions, settings, tmp_path: Path):
    home = settings.layout.user_file("ada", "")
    home.mkdir(parents=True)
    (home / "out").symlink_to(tmp_path)
    assert client.post("/tasks/", json={**BODY, "file_path": "out/a.mp4"}).status_code == 400
