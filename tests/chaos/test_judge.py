"""The judge finds what is planted, in a real database, registry and storage, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import select

from components.layout import Layout
from components.video.writer import Mp4Writer
from gateway.database import Sessions, open_database, upgrade_database
from gateway.events import EventName, record_event
from gateway.models import Attempt, Notification, NotificationRule, Step, Task
from gateway.notifications.messages import message
from gateway.tasks import create_task
from gateway.work import Work
from tests.chaos.evidence import (
    SHARED_MEMORY,
    Evidence,
    left_behind,
    notifications_there,
    registry_there,
    results_there,
    tasks_there,
)
from tests.chaos.findings import COLUMNS, Finding, Log, Struck
from tests.chaos.judge import judge
from tests.chaos.load import Asked
from tests.helpers.tiny_onnx import draw_frame

WELL = (EventName.VIDEO_DOWNLOADED, EventName.INFERENCE_REQUESTED, EventName.INFERENCE_COMPLETED)
_OUR_PID = 999_999_999  # no process has it


@dataclass
class Scene:
    """What a run leaves that went well: a reference analysis and another one."""

    home: Path
    temporary: Path
    sessions: Sessions
    layout: Layout
    registry: Path = Path("none")
    asked: list[Asked] = field(default_factory=list)
    arrived: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {"ada": {}})
    senders_killed: tuple[float, ...] = ()

    def evidence(self) -> Evidence:
        runs, versions = registry_there(self.registry)
        tasks = tasks_there(self.sessions, ["ada"])
        return Evidence(
            asked=tuple(self.asked),
            references={"infer ada": self.asked[0]},
            tasks=tasks,
            told=notifications_there(self.sessions),
            arrived=self.arrived,
            senders_killed=self.senders_killed,
            runs=runs,
            versions=versions,
            served=None,
            results=results_there(self.layout, tasks),
            left=left_behind(self.home, self.temporary, {_OUR_PID}, ()),
        )

    def add_task(self, asked: bool = True) -> str:
        """A whole analysis: its steps, events, notifications and results."""
        with self.sessions.begin() as session:
            task = create_task(session, "ada", "inference", Work(file_path="clip.mp4"))
            session.flush()
            for step in task.steps:
                step.state, step.attempt = "succeeded", 1
            task.state = "succeeded"
            for name in WELL:
                record_event(session, task, name, {})
                title = message(name, task.id, {})[0]
                self.arrived["ada"][title] = [1000.0]
            session.flush()
            task_id = task.id
        self._note(task_id)
        _write_results(self.layout.results(task_id))
        if asked:
            self.asked.append(Asked(task_id, "ada", "infer"))
        return task_id

    def _note(self, task_id: str) -> None:
        from gateway.models import Event

        with self.sessions.begin() as session:
            (rule,) = session.scalars(select(NotificationRule))
            for event in session.scalars(select(Event).where(Event.task_id == task_id)):
                session.add(
                    Notification(event_id=event.id, rule_id=rule.id, state="sent", attempt=1)
                )


def _write_results(folder: Path) -> None:
    (folder / "chunks").mkdir(parents=True)
    (folder / "chunks" / "result_chunk_0.json").write_text("{}")
    (folder / "results.csv").write_text("frame,class\n0,disc\n")
    content = {"metadata": {"task_id": folder.name}, "results": [{"frame": 0}]}
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "report.ipynb").write_text("{}")
    with Mp4Writer(folder / "overlaid_results.mp4", wh=(64, 48), fps=25) as writer:
        for _ in range(3):
            writer.write(draw_frame((64, 48), seed=0, blobs=1)[0])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[MlflowClient, Path]:
    """A registry of MLflow's own, made once: its schema takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    return MlflowClient(f"sqlite:///{path}"), path


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "empty.db"
    upgrade_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def scene(tmp_path: Path, empty_database: Path) -> Scene:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    temporary.mkdir()
    (home / "storage").mkdir(parents=True)
    shutil.copyfile(empty_database, home / "actverse.db")
    sessions = open_database(f"sqlite:///{home / 'actverse.db'}")
    scene = Scene(home, temporary, sessions, Layout(home / "storage"))
    with scene.sessions.begin() as session:
        session.add(NotificationRule(user_id="ada", events=[], sealed_url="", shown_url=""))
    scene.add_task()
    scene.add_task()
    return scene


def _change_task(scene: Scene, **values: object) -> None:
    with scene.sessions.begin() as session:
        task = session.get_one(Task, scene.asked[1].task_id)
        for name, value in values.items():
            setattr(task, name, value)


def _lose(scene: Scene) -> None:
    _change_task(scene, state="running")
    with scene.sessions.begin() as session:
        steps = session.scalars(select(Step).where(Step.task_id == scene.asked[1].task_id))
        next(iter(steps)).state = "pending"


def _forget(scene: Scene) -> None:
    scene.asked.append(Asked("t-000000000000", "ada", "infer"))


def _fail(scene: Scene) -> None:
    _change_task(scene, state="failed", error="It broke.")


def _leave_an_attempt(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        task_id = scene.asked[1].task_id
        session.add(Attempt(task_id=task_id, step="analyse", attempt=1, holder="x"))


def _double_a_task(scene: Scene) -> None:
    scene.add_task(asked=False)


def _double_an_event(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        task = session.get_one(Task, scene.asked[1].task_id)
        record_event(session, task, EventName.INFERENCE_COMPLETED, {}, key="again")


def _tell_twice(scene: Scene) -> None:
    title = message(EventName.INFERENCE_COMPLETED, scene.asked[1].task_id, {})[0]
    scene.arrived["ada"][title] = [1000.0, 1001.0]


def _tell_again_after_an_attempt(scene: Scene) -> None:
    """It was sent twice, and nobody was killed meanwhile."""
    with scene.sessions.begin() as session:
        newest = select(Notification).order_by(Notification.id.desc()).limit(1)
        session.scalars(newest).one().attempt = 2
    title = message(WELL[-1], scene.asked[1].task_id, {})[0]
    scene.arrived["ada"][title] = [1000.0, 1300.0]
    scene.senders_killed = (100.0, 1400.0)


def _tell_nobody(scene: Scene) -> None:
    title = message(EventName.INFERENCE_COMPLETED, scene.asked[1].task_id, {})[0]
    del scene.arrived["ada"][title]


def _do_not_send(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        newest = select(Notification).order_by(Notification.id.desc()).limit(1)
        session.scalars(newest).one().state = "failed"


def _differ(scene: Scene) -> None:
    (scene.layout.results(scene.asked[1].task_id) / "results.csv").write_text("frame,class\n")


def _miss_a_frame(scene: Scene) -> None:
    path = scene.layout.results(scene.asked[1].task_id) / "overlaid_results.mp4"
    with Mp4Writer(path, wh=(64, 48), fps=25) as writer:
        writer.write(draw_frame((64, 48), seed=0, blobs=1)[0])


def _leave_a_folder(scene: Scene) -> None:
    (scene.temporary / "actverse-ultralytics-x").mkdir()


def _leave_half_a_file(scene: Scene) -> None:
    folder = scene.layout.results(scene.asked[1].task_id)
    (folder / ".results.0123456789abcdef.csv").touch()


def _leave_half_an_upload(scene: Scene) -> None:
    folder = scene.layout.root / "users" / "ada"
    folder.mkdir(parents=True)
    (folder / "clip.mp4.part").touch()


@pytest.mark.parametrize(
    ("plant", "column"),
    [
        (_lose, "lost"),
        (_forget, "lost"),
        (_fail, "failed"),
        (_leave_an_attempt, "leftovers"),
        (_double_a_task, "doubled"),
        (_double_an_event, "doubled"),
        (_tell_twice, "doubled"),
        (_tell_again_after_an_attempt, "doubled"),
        (_tell_nobody, "lost"),
        (_do_not_send, "lost"),
        (_differ, "differing"),
        (_miss_a_frame, "differing"),
        (_leave_a_folder, "leftovers"),
        (_leave_half_a_file, "leftovers"),
        (_leave_half_an_upload, "leftovers"),
    ],
)
def test_what_is_planted_is_found_and_nothing_else(
    scene: Scene, plant: Callable[[Scene], None], column: str
):
    assert judge(scene.evidence()) == []
    plant(scene)
    assert {finding.column for finding in judge(scene.evidence())} == {column}


def test_what_a_killed_sender_has_sent_may_come_again(scene: Scene):
    _tell_again_after_an_attempt(scene)
    scene.senders_killed = (1200.0,)
    assert judge(scene.evidence()) == []


def test_shared_memory_of_a_process_of_the_run_is_found(scene: Scene):
    ours = SHARED_MEMORY / f"actverse-{_OUR_PID}-0123456789ab"
    another = SHARED_MEMORY / f"actverse-{_OUR_PID - 1}-0123456789ab"
    try:
        ours.touch()
        another.touch()
        (found,) = judge(scene.evidence())
    finally:
        ours.unlink()
        another.unlink()
    assert found.what == f"shared memory: {ours.name}"


def test_runs_and_versions_are_counted_by_task(scene: Scene, registry: tuple[MlflowClient, Path]):
    client, scene.registry = registry
    task_id = scene.asked[1].task_id
    made = [client.create_run("0", tags={"task_id": task_id}).info.run_id for _ in range(3)]
    client.create_registered_model("shapes")
    client.create_model_version("shapes", "somewhere", tags={"task_id": task_id})
    tags = {"task_id": "t-another", "serving.state": "ready"}
    client.create_model_version("shapes", "somewhere", tags=tags)
    client.set_registered_model_alias("shapes", "champion", "2")
    columns = lambda: sorted(f.column for f in judge(scene.evidence()))  # noqa: E731
    assert columns() == ["leftovers"] * 3
    for run_id in made:
        client.set_terminated(run_id, "FAILED")
    assert columns() == []
    for run_id in made[:2]:
        client.set_terminated(run_id, "FINISHED")
    assert columns() == ["retrained"]
    client.create_model_version("shapes", "elsewhere", tags={"task_id": task_id})
    assert columns() == ["doubled", "retrained"]
    client.set_registered_model_alias("shapes", "champion", "1")
    assert columns() == ["doubled", "lost", "retrained"]
    served = replace(scene.evidence(), served=frozenset({("shapes", 2)}))
    assert sorted(f.column for f in judge(served)) == ["doubled", "lost", "lost", "retrained"]


def test_a_finding_names_the_kill_before_it(tmp_path: Path):
    lines: list[str] = []
    log = Log(tmp_path, lines.append)
    for number, moment in ((1, 100.0), (2, 200.0)):
        log.kill(Struck(moment, number, "worker", f"kill {number}", True, str(os.getpid()), ()))
    log.kill(Struck(150.0, 3, "worker", "kill that met nobody", True, "", ()))
    for moment in (50.0, 150.0, 250.0):
        log.find(Finding("lost", "something", moment=moment))
    assert [finding.after for finding in log.findings] == ["", "kill 1", "kill 2"]
    entries = (tmp_path / "kills.jsonl").read_text().splitlines()
    assert len(entries) == len(log.struck) + len(log.findings)
    assert {finding.column for finding in log.findings} <= set(COLUMNS)
