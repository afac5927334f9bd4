"""A broker that is down at the start and goes down in the middle: tasks wait, and go on."""

from collections.abc import Iterator

import pytest

from gateway.models import now
from gateway.work import Work
from tests.helpers.brokers import RabbitMQ, RedisServer, missing_rabbitmq, missing_redis
from tests.helpers.scripted_web import ScriptedWeb
from tests.helpers.servers import wait_until
from tests.helpers.workers import Workers

pytestmark = pytest.mark.slow


@pytest.fixture(params=["rabbitmq", "redis"])
def own_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQ | RedisServer]:
    """A broker of this test's own, not started."""
    missing, kind = {
        "rabbitmq": (missing_rabbitmq, RabbitMQ),
        "redis": (missing_redis, RedisServer),
    }[request.param]
    if reason := missing():
        pytest.skip(reason)
    broker = kind(tmp_path_factory.mktemp(request.param))
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def broker(own_broker: RabbitMQ | RedisServer) -> dict[str, str]:
    """Purging the queues, which the workers' fixture does, takes a broker that answers."""
    own_broker.start()
    url = own_broker.url
    return {"broker_url": url, "redis_url": url} if url.startswith("redis") else {"broker_url": url}


def test_tasks_wait_for_the_broker_and_go_on(
    workers: Workers, own_broker: RabbitMQ | RedisServer, web: ScriptedWeb
):
    own_broker.stop()
    task_id = workers.add("upload", Work(file_path="clip.mp4", upload_path="a.mp4"))
    begun = now()
    assert not workers.dispatcher.send(task_id)
    assert (now() - begun).total_seconds() < 20
    assert workers.state(task_id) == "queued"
    workers.start(wait=False)
    own_broker.start()
    workers.wait_for(task_id)

    # It goes down while a step runs, and stays down until that step has ended.
    web.scripts["/clip.mp4"] = [web.endless(b"x" * 1000, 0.05)]
    work = Work(file_path=web.url("/clip.mp4"), upload_path="b.mp4")
    task_id = workers.submit("upload", work)
    wait_until(lambda: web.requests["/clip.mp4"])
    own_broker.kill()
    web.closing.set()
    wait_until(lambda: workers.facts(task_id, "download").get("bytes"))
    own_broker.start()

    # kombu gives a worker up whose Redis dies while a message is acknowledged.
    def goes_on() -> bool:
        workers.revive()
        return workers.state(task_id) == "succeeded"

    wait_until(goes_on, 60, "the task to go on")
    assert workers.settings.layout.user_file("ada", "b.mp4").exists()
