"""One user's flood keeps nobody waiting: few of a user's tasks are at the workers at once."""

import base64
import json
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from components.settings import Settings
from gateway.app import create_app
from gateway.celery_app import create_celery
from gateway.database import Sessions
from gateway.dispatch import Dispatcher
from gateway.flows import STEPS, TRAINING, Queue
from gateway.leases import claim_any, claim_step, fail_step, finish_step, recover, release_step
from gateway.models import Step, now
from gateway.tasks import cancel_task, create_task, queue_depths, read_task
from gateway.work import Work
from tests.helpers.tasks import set_step

LEASE = SOON = timedelta(seconds=30)
SHARE = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.user_steps = SHARE
    return settings


@pytest.fixture
def dispatcher(settings: Settings, sessions: Sessions) -> Dispatcher:
    return Dispatcher(settings, sessions, create_celery(settings))


def _task(sessions: Sessions, user: str = "ada", kind: str = "download") -> str:
    with sessions.begin() as session:
        return create_task(session, user, kind, Work(file_path="a.mp4")).id


def _messages(settings: Settings) -> list[tuple[str, str]]:
    """The task and step of each message that lies on the broker, in the order of their sending."""
    folder = settings.home / "broker" / "messages"
    files = sorted(folder.glob("*.msg"), key=lambda path: path.stat().st_mtime_ns)
    bodies = [base64.b64decode(json.loads(path.read_text())["body"]) for path in files]
    return [tuple(json.loads(body)[0]) for body in bodies]


def _take(settings: Settings) -> tuple[str, str, str]:
    """Take the oldest message, as a worker does."""
    folder = settings.home / "broker" / "messages"
    first = min(folder.glob("*.msg"), key=lambda path: path.stat().st_mtime_ns)
    task_id, name = _messages(settings)[0]
    queue = first.name.split(".")[-2]
    first.unlink()
    return task_id, name, queue


def _claim(sessions: Sessions, task_id: str, name: str) -> Step:
    with sessions.begin() as session:
        step = claim_step(session, task_id, name, "w1", LEASE)
    assert step is not None
    return step


def _succeed(sessions: Sessions, dispatcher: Dispatcher, step: Step, brings: bool = False) -> None:
    with sessions.begin() as session:
        finish_step(session, step.id, "w1", {})
    dispatcher.go_on(step.task_id, step.name, brings_next=brings)


def test_the_others_step_comes_after_a_share_of_the_flood(settings, sessions, dispatcher):
    flood = [_task(sessions) for _ in range(40)]
    for task_id in flood:
        assert dispatcher.send(task_id)
    other = _task(sessions, "bob")
    dispatcher.send(other)
    assert _messages(settings) == [
        *((one, "download") for one in flood[:SHARE]),
        (other, "download"),
    ]
    with sessions() as session:
        assert queue_depths(session)[Queue.VIDEO] == 41, "those without a message wait too"


def test_a_flood_goes_on_one_by_one_and_to_its_end(settings, sessions, dispatcher):
    """A worker with one slot: as each task's chain ends, the user's next one is queued."""
    for task_id in (flood := [_task(sessions, kind="labels") for _ in range(12)]):
        dispatcher.send(task_id)
    dispatcher.send(other := _task(sessions, "bob", "labels"))
    order = []
    while _messages(settings):
        task_id, name, queue = _take(settings)
        assert queue == STEPS[name].queue
        order.append(task_id)
        assert len(_messages(settings)) <= SHARE + 1
        _succeed(sessions, dispatcher, _claim(sessions, task_id, name))
    assert order.index(other) <= SHARE
    assert [one for one in order if one != other] == flood, "all of them, the oldest first"


def test_each_queue_has_places_of_its_own(settings, sessions, dispatcher):
    """What has left a queue makes room there, and needs a place at the next one."""
    tasks = [_task(sessions, kind="inference") for _ in range(SHARE * 2)]
    for task_id in tasks:
        dispatcher.send(task_id)
    for task_id in tasks:  # each comes through its first queue, and none is taken at the second
        for name in ("download", "validate", "convert"):
            step = _claim(sessions, task_id, name)
            _succeed(sessions, dispatcher, step, brings=name != "convert")
    sent = [name for _, name in _messages(settings)]
    assert sent.count("download") == len(tasks)
    assert sent.count("analyse") == SHARE
    _succeed(sessions, dispatcher, _claim(sessions, tasks[0], "analyse"), brings=True)
    assert [name for _, name in _messages(settings)].count("analyse") == SHARE, "it is still there"
    for name in ("csv", "json", "chunks", "overlay", "notebook", "results"):
        _succeed(sessions, dispatcher, _claim(sessions, tasks[0], name), brings=name != "results")
    assert [name for _, name in _messages(settings)].count("analyse") == SHARE + 1


@pytest.mark.parametrize("end", ["failed", "retried", "waits"])
def test_whatever_ends_a_step_makes_room(settings, sessions, dispatcher, end: str):
    tasks = [_task(sessions, kind="labels") for _ in range(SHARE + 1)]
    for task_id in tasks:
        dispatcher.send(task_id)
    step = _claim(sessions, tasks[0], "import_labels")
    with sessions.begin() as session:
        if end == "waits":
            release_step(session, step.id, "w1", 0, 1, timedelta(hours=1))
        else:
            retry = timedelta(hours=1) if end == "retried" else None
            fail_step(session, step.id, "w1", "It broke.", retry)
    dispatcher.go_on(tasks[0], "import_labels", brings_next=False)
    assert [task for task, _ in _messages(settings)] == tasks


def test_what_is_to_be_tried_again_waits_in_the_database(settings, sessions, dispatcher):
    task_id = _task(sessions, kind="labels")
    dispatcher.send(task_id)
    _take(settings)
    step = _claim(sessions, task_id, "import_labels")
    with sessions.begin() as session:
        fail_step(session, step.id, "w1", "It is away.", timedelta(hours=1))
    assert _recovered(sessions) == []
    set_step(sessions, task_id, "import_labels", not_before=now())
    assert _recovered(sessions) == [(task_id, ["import_labels"])]
    assert _recovered(sessions) == []


def _recovered(sessions: Sessions, **options) -> list[tuple[str, list[str]]]:
    with sessions.begin() as session:
        return recover(session, SOON, not_for=(TRAINING,), share=SHARE, **options)


def test_after_an_outage_the_users_take_turns(sessions):
    ada = [_task(sessions) for _ in range(10)]
    bob = [_task(sessions, "bob") for _ in range(2)]
    eve = [_task(sessions, "eve")]
    found = [task for task, _ in _recovered(sessions)]
    assert found == [ada[0], bob[0], eve[0], ada[1], bob[1], ada[2]]
    assert _recovered(sessions) == []
    with sessions.begin() as session:
        cancel_task(session, read_task(session, ada[0]))
    assert _recovered(sessions) == [(ada[3], ["download"])], "what was cancelled holds no place"


def test_what_still_lies_in_the_queue_is_not_queued_again(sessions):
    tasks = [_task(sessions, user) for user in ("ada", "bob", "eve")]
    _recovered(sessions)
    for task_id in tasks:
        set_step(sessions, task_id, "download", queued=now() - timedelta(hours=1))
    assert _recovered(sessions, lying=lambda queue: 3) == []
    found = _recovered(sessions, lying=lambda queue: 2)
    assert sorted(task for task, _ in found) == sorted(tasks), "one of them was lost"
    assert _recovered(sessions, lying=lambda queue: 0) == [], "it has to come first"


def test_a_step_whose_worker_was_lost_is_queued_again_once(sessions):
    task_id = _task(sessions)
    _recovered(sessions)
    _claim(sessions, task_id, "download")
    lost = now() - timedelta(seconds=1)
    set_step(sessions, task_id, "download", queued=lost - LEASE, lease_until=lost)
    # Its message was taken: what lies there is others'.
    assert _recovered(sessions, lying=lambda queue: 99) == [(task_id, ["download"])]
    for _ in range(5):
        assert _recovered(sessions, lying=lambda queue: 99) == []


def test_the_broker_says_what_lies_in_it(settings, sessions, dispatcher):
    assert dispatcher.lying(Queue.VIDEO) == 0
    dispatcher.send(_task(sessions))
    assert (dispatcher.lying(Queue.VIDEO), dispatcher.lying(Queue.IMPORT)) == (1, 0)


@pytest.mark.parametrize("broker", ["rabbitmq_url", "redis_url"])
def test_other_brokers_say_it_too(
    settings: Settings, sessions: Sessions, request: pytest.FixtureRequest, broker: str
):
    settings.broker_url = request.getfixturevalue(broker)
    celery = create_celery(settings)
    celery.control.purge()
    dispatcher = Dispatcher(settings, sessions, celery)
    before = dispatcher.lying(Queue.LABELING)
    dispatcher.send(_task(sessions, kind="labels"))
    assert dispatcher.lying(Queue.LABELING) == before + 1
    celery.control.purge()


def test_a_part_that_is_queued_alone_lets_the_rest_follow(settings, sessions, dispatcher):
    """Of five parts one was lost, while another one runs: nothing is sent twice."""
    task_id = _task(sessions, kind="inference")
    for name in ("download", "validate", "convert", "analyse"):
        _succeed(sessions, dispatcher, _claim(sessions, task_id, name), brings=name != "convert")
    parts = {name: _claim(sessions, task_id, name) for name in ("csv", "json", "chunks", "overlay")}
    set_step(sessions, task_id, "notebook", queued=now() - timedelta(hours=1))
    before = len(_messages(settings))
    ((found, names),) = _recovered(sessions, lying=lambda queue: 0)
    assert names == ["notebook"]
    dispatcher.send_again(found, names)
    assert _messages(settings)[before:] == [(task_id, "notebook")]
    for part in parts.values():
        _succeed(sessions, dispatcher, part, brings=True)
    assert len(_messages(settings)) == before + 1
    _succeed(sessions, dispatcher, _claim(sessions, task_id, "notebook"))
    assert _messages(settings)[before + 1 :] == [(task_id, "results")]


def test_many_trainings_do_not_hold_up_anothers_first(sessions):
    flood = [_at_training(sessions, "ada") for _ in range(20)]
    with sessions.begin() as session:
        first = claim_any(session, (TRAINING,), "w1", LEASE)
    bob, eve = _at_training(sessions, "bob"), _at_training(sessions, "eve")
    order = []
    for _ in range(5):  # one slot
        with sessions.begin() as session:
            finish_step(session, first.id, "w1", {})
        with sessions.begin() as session:
            first = claim_any(session, (TRAINING,), "w1", LEASE)
        order.append(first.task_id)
    assert order == [bob, eve, *flood[1:4]]


def test_of_two_slots_one_users_trainings_leave_one(sessions):
    flood = [_at_training(sessions, "ada") for _ in range(5)]
    bob = _at_training(sessions, "bob")
    taken = []
    for holder in ("w1", "w2"):
        with sessions.begin() as session:
            taken.append(claim_any(session, (TRAINING,), holder, LEASE).task_id)
    assert taken == [flood[0], bob]


def _at_training(sessions: Sessions, user: str) -> str:
    task_id = _task(sessions, user, "training")
    set_step(sessions, task_id, "labels", state="succeeded")
    return task_id


def test_a_user_has_so_many_open_tasks_at_most(settings, sessions, api_key):
    settings.max_open_tasks = 3
    client = TestClient(create_app(settings), headers={"X-API-Key": api_key})
    for _ in range(5):
        _task(sessions, "bob")
    body = {"file_path": "https://example.org/a.mp4"}
    made = [client.post("/tasks/", json=body).json()["task_id"] for _ in range(3)]
    refused = client.post("/tasks/", json=body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "3 tasks of yours" in refused.json()["detail"]
    client.delete(f"/tasks/{made[0]}").raise_for_status()
    client.post("/tasks/", json=body).raise_for_status()
