"""Every answer that the OpenAPI document names can be had, but those that only faults bring.

500 is nobody's aim; 429, 503 and 507 are brought about in test_faults_api.py.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from components.labeling.draft import save_draft
from components.labeling.label_set import LabelSet
from components.labels import LabelSpec
from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.models import Step
from gateway.tasks import read_task
from gateway.webhook import label_studio_token
from tests.gateway.test_webhook_api import ENDED, EVENT, OF_A_RUN, _headers
from tests.helpers.tasks import set_step, succeed

_BY_FAULTS = {429, 500, 503, 507}
_JSON = {"content-type": "application/json"}
_MODEL = {"state": "succeeded", "facts": {"model": "ada-detect", "version": 1}}
_UNKNOWN = "t-000000000000"

Call = Callable[[TestClient], Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A hundred requests in a second are a test's own way."""
    return settings.model_copy(update={"rate_limit": ""})


class _World:
    """What there is for the calls to be about."""

    def __init__(self, client: TestClient, sessions: Sessions, settings: Any) -> None:
        for path in ("a.mp4", "labels/a.txt", "frames/a.jpg", "m.onnx"):
            client.put(f"/files/{path}", content=b"content")
        self.trained = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
        pipeline = {"register": _MODEL, "deploy": _MODEL}
        learnt = {"spec": {"names": ["mouse"]}}
        succeed(sessions, self.trained, {"training": {"pipeline": pipeline}, "labels": learnt})
        self.again = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
        succeed(sessions, self.again, {"labels": learnt})
        self.waiting = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
        succeed(sessions, self.waiting, {"labeling": {"project": "labeling/a", "tool": "folder"}})
        set_step(sessions, self.waiting, "labels", state="waiting", done=1, total=2)
        with sessions.begin() as session:
            read_task(session, self.waiting).state = "waiting"
        draft = LabelSet(LabelSpec(names=("mouse",)), {})
        save_draft(draft, settings.layout.labels_draft(self.waiting))
        self.revision = client.get(f"/status/{self.trained}").json()["revision"]
        made = client.post("/video/extract-frames", json={"file_path": "a.mp4"})
        self.extracted = made.json()["task_id"]
        succeed(sessions, self.extracted)
        results = settings.layout.results(self.trained)
        results.mkdir(parents=True)
        (results / "results.csv").write_bytes(b"frame\n")


def _bodies(world: _World) -> dict[str, dict[str, Any]]:
    """A body that is taken, by operation."""
    return {
        "createTask": {"file_path": "a.mp4"},
        "downloadVideo": {"file_path": "a.mp4", "download_path": "b.mp4"},
        "extractFrames": {"file_path": "a.mp4"},
        "uploadVideo": {"file_path": "a.mp4", "upload_path": "b.mp4"},
        "requestLabels": {"folder_path": "frames", "task_id": world.extracted},
        "train": {"data_path": "labels", "mode_train_info": {}},
        "deploy": {"task_id": world.trained},
        "importModel": {"model_path": "m.onnx", "name": "mice", "images_path": "frames"},
        "analyse": {"data_path": "a.mp4"},
        "importLabels": {"labels_path": "labels"},
        "nextRound": {"num_frames": 5},
    }


# What is not there, of what a body names.
_MISSING = {
    "downloadVideo": {"file_path": "nowhere"},
    "extractFrames": {"file_path": "nowhere"},
    "uploadVideo": {"file_path": "nowhere"},
    "requestLabels": {"folder_path": "nowhere"},
    "train": {"data_path": "nowhere"},
    "deploy": {"task_id": _UNKNOWN},
    "importModel": {"model_path": "nowhere.onnx"},
    "analyse": {"data_path": "nowhere"},
    "importLabels": {"labels_path": "nowhere"},
}
_OUT_OF_RANGE = {"train": {"mode_train_info": {"epochs": 0}}, "analyse": {"iou": 2}}
_PATHS = {
    "getResult": "/tasks/{trained}/results/results.csv",
    "putFile": "/files/new.mp4",
    "getFile": "/files/a.mp4",
    "deleteFile": "/files/a.mp4",
    "exportLabels": "/labeling/{waiting}/labels",
    "importLabels": "/labeling/{waiting}/labels",
    "finishLabeling": "/labeling/{waiting}/finish",
    "restoreLabeling": "/labeling/{waiting}/restore",
}
_WRONG = {
    "listTasks": "/tasks/?limit=0",
    "listResults": "/tasks/{trained}/results?limit=0",
    "getResult": "/tasks/{trained}/results/a//b",
    "listFiles": "/files/?limit=0",
    "putFile": "/files/a//b",
    "getFile": "/files/a//b",
    "deleteFile": "/files/a//b",
    "watchTask": "/tasks/{trained}/events",
    "exportLabels": "/labeling/{trained}/labels?format=paper",
}


def _calls(
    name: str, method: str, path: str, world: _World, secret: str
) -> dict[int, list[tuple[str, dict[str, Any]]]]:
    """Requests that are to be answered with each status; of some, the last answer counts."""
    place = _PATHS.get(name, path).format(
        trained=world.trained,
        waiting=world.waiting,
        task_id=world.trained,
        key="a.mp4",
        path="results.csv",
    )
    wrong = _WRONG.get(name, place).format(trained=world.trained)
    unknown = path.format(task_id=_UNKNOWN, path="results.csv", key="nowhere")
    body = _bodies(world).get(name)
    calls: dict[int, list[tuple[str, dict[str, Any]]]] = {
        401: [(place, {"headers": {"X-API-Key": "av_wrong"}})],
        404: [(unknown, {})],
        416: [(place, {"headers": {"Range": "bytes=999-"}})],
        206: [(place, {"headers": {"Range": "bytes=0-1"}})],
        200: [(place, {})],
        400: [(wrong, {"headers": {"Last-Event-ID": "-1"}})],
        403: [(place, {"params": {"user_id": "bob"}})],
    }
    if body is not None:
        key = {"headers": {"Idempotency-Key": name}}
        other = {**body, "user_id": "ada"}
        calls |= {
            202: [(place, {"json": body})],
            400: [(place, {"json": {**body, "unknown": 1}})],
            403: [(place, {"json": {**body, "user_id": "bob"}})],
            404: [(place, {"json": {**body, **_MISSING.get(name, {})}})],
            409: [(place, {"json": body, **key}), (place, {"json": other, **key})],
            413: [(place, {"content": b" " * 2**21, "headers": _JSON})],
            415: [(place, {"content": b"<a/>", "headers": {"content-type": "text/xml"}})],
            422: [(place, {"json": {**body, **_OUT_OF_RANGE.get(name, {})}})],
        }
    if name in ("exportLabels", "finishLabeling", "restoreLabeling"):
        # The trained one's labels are taken, and none were read from a tool.
        calls[409] = [(path.format(task_id=world.trained), {})]
        calls[202] = [(place, {})]
    if name == "nextRound":
        calls[404] = [(unknown, {"json": body})]
        # Of one task, one round at a time.
        calls[202] = [(path.format(task_id=world.again), {"json": body})]
    if name == "watchTask":
        calls[204] = [(place, {"headers": {"Last-Event-ID": str(world.revision)}})]
    if name == "listTasks":
        calls[404] = [(place, {"params": {"after": _UNKNOWN}})]
    if name == "putFile":
        calls[201] = [(place, {"content": b"1"})]
        calls[200] = [("/files/a.mp4", {"content": b"1"})]
    if name.endswith("Webhook"):
        token = {"Authorization": f"Bearer {label_studio_token(secret)}"}
        event = json.dumps(ENDED if name == "pipelinesWebhook" else EVENT).encode()
        sign = {
            "mlflowWebhook": _headers,
            "pipelinesWebhook": lambda content: _headers(content, **OF_A_RUN),
        }.get(name, lambda content: token)
        calls |= {
            202: [(place, {"content": event, "headers": sign(event)})],
            400: [(place, {"content": b"[]", "headers": sign(b"[]")})],
            401: [(place, {"content": event})],
            413: [(place, {"content": b" " * 2**17})],
        }
    return calls


# Of the keys and notifications, their own tests show each answer.
_ELSEWHERE = ("/keys", "/notifications", "/healthz", "/readyz", "/metrics")
# What needs a state of its own: shown in test_labeling_api.py, here, and with a Triton.
_OWN = {("requestLabels", 409), ("listModels", 200), ("watchTask", 200), ("putFile", 413)}


def _documented(client: TestClient) -> list[tuple[str, str, str, int]]:
    document = client.get("/openapi.json").json()
    return [
        (operation["operationId"], method, path, int(status))
        for path, operations in document["paths"].items()
        if not path.startswith(_ELSEWHERE)
        for method, operation in operations.items()
        for status in operation["responses"]
        if int(status) not in _BY_FAULTS and (operation["operationId"], int(status)) not in _OWN
    ]


def test_every_documented_answer_can_be_had(client: TestClient, sessions, settings):
    world = _World(client, sessions, settings)
    secret = settings.webhook_secret.get_secret_value()
    missed = []
    # What changes or deletes the world comes last.
    for name, method, path, status in sorted(
        _documented(client), key=lambda one: (one[1] == "delete", one[3] < 400)
    ):
        requests = _calls(name, method, path, world, secret).get(status, [])
        given = [client.request(method, place, **parts) for place, parts in requests]
        if not given or given[-1].status_code != status:
            missed.append((name, status, [answer.status_code for answer in given]))
    assert missed == []


def test_labels_that_are_asked_for_twice_at_once_are_a_conflict(client, sessions, settings):
    """The second is in between when the first commits."""
    world = _World(client, sessions, settings)
    body = {"folder_path": "frames", "task_id": world.extracted}
    overtaken = False

    def overtake(session: Any, *_: Any) -> None:
        nonlocal overtaken
        if not overtaken and any(isinstance(one, Step) for one in session.new):
            overtaken = True
            assert client.post("/labeling", json=body).status_code == 202

    event.listen(client.app.state.sessions.class_, "before_flush", overtake)
    try:
        answer = client.post("/labeling", json=body)
    finally:
        event.remove(client.app.state.sessions.class_, "before_flush", overtake)
    assert overtaken
    assert answer.status_code == 409, answer.text


def test_a_file_over_the_cap_is_too_large(settings, sessions, api_key):
    small = settings.model_copy(update={"max_upload_bytes": 10})
    client = TestClient(create_app(small), headers={"X-API-Key": api_key})
    assert client.put("/files/a", content=b"x" * 11).status_code == 413


@pytest.mark.parametrize("path", ["/tasks/x/events", "/status/x"])
def test_what_is_not_there_is_not_found_whatever_else_is_asked(client, path: str):
    assert client.get(path).status_code == 404
