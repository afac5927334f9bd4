"""Two requests for a further round at the same time make one."""

import threading

from sqlalchemy import event

from components.errors import Conflict
from gateway.database import Sessions
from gateway.rounds import next_round, rounds_of
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.tasks import succeed

LABELLED = {
    "labeling": {"tool": "folder", "project": "labeling/arena", "url": "", "frames": 9},
    "labels": {"spec": {"names": ["rat"]}},
}


def test_of_two_at_once_one_finds_the_others_round(sessions: Sessions):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "loop", Work(file_path="clip.mp4")).id
    succeed(sessions, task_id, LABELLED)
    past_its_checks, refused = threading.Event(), []

    def ask_too() -> None:
        try:
            with sessions.begin() as session:
                event.listen(session, "before_flush", lambda *_: past_its_checks.set())
                next_round(session, read_task(session, task_id), {}, reopen=False)
        except Conflict as error:
            refused.append(str(error))

    other = threading.Thread(target=ask_too)
    with sessions.begin() as session:
        made = next_round(session, read_task(session, task_id), {}, reopen=False).id
        session.flush()
        other.start()
        # It cannot get that far before this one ends.
        assert not past_its_checks.wait(0.5)
    other.join()
    assert [made in said for said in refused] == [True]
    with sessions() as session:
        assert len(rounds_of(session, read_task(session, task_id))) == 2
