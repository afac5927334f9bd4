"""Everything is killed at once, at the worst moment of each step; nothing is lost or doubled."""

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from gateway.events import EventName
from gateway.keys import create_key
from gateway.models import Attempt, Event, Notification
from gateway.notifications.rules import add_rule
from gateway.tasks import read_task
from gateway.work import Work
from tests.gateway.workers.conftest import MODEL
from tests.helpers.gates import arm
from tests.helpers.scripted_web import ScriptedWeb
from tests.helpers.servers import TritonServer, wait_until
from tests.helpers.workers import Workers

pytestmark = pytest.mark.slow

CHAIN = ("download", "validate", "convert", "extract", "preannotate", "labeling", "labels")
ANALYSIS = ("analyse", "csv", "json", "chunks", "overlay", "notebook", "results")
SIDE_BY_SIDE = ANALYSIS[1:-1]
CHAIN_EVENTS = [
    EventName.VIDEO_DOWNLOADED,
    EventName.FRAMES_EXTRACTED,
    EventName.LABELING_REQUESTED,
    EventName.LABELING_COMPLETED,
]
ANALYSIS_EVENTS = [
    EventName.VIDEO_DOWNLOADED,
    EventName.INFERENCE_REQUESTED,
    EventName.INFERENCE_COMPLETED,
    EventName.RESULTS_UPLOADED,
]


def label_all(workers: Workers, task_id: str) -> None:
    """Label what a task has laid out for it."""
    folder = workers.settings.layout.user_file("ada", f"labeling/actverse-{task_id}")
    for image in (folder / "images").iterdir():
        (folder / "labels" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def attempts(workers: Workers, task_id: str) -> Counter[tuple[str, str]]:
    with workers.sessions() as session:
        query = select(Attempt).where(Attempt.task_id == task_id)
        return Counter((row.step, row.outcome) for row in session.scalars(query))


def held_at(step: str) -> Counter[tuple[str, str]]:
    """The attempts of a task that stands at the gate of a step, and in which nothing else runs."""
    steps = CHAIN if step in CHAIN else (*CHAIN[:3], *ANALYSIS)
    done = set(steps[: steps.index(step)])
    if step in SIDE_BY_SIDE:
        done |= set(SIDE_BY_SIDE) - {step}
    return Counter({**{(name, "succeeded"): 1 for name in done}, (step, "running"): 1})


def files(folder: Path) -> dict[str, bytes]:
    """What lies below a folder; what names the task or depends on the moment is left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".jpg", ".txt", ".csv")
    }


def half_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name != ".gitkeep"]


@pytest.mark.timeout(900)
def test_a_task_killed_at_any_step_ends_as_it_would_have(
    workers: Workers, served: TritonServer, web: ScriptedWeb, tmp_path: Path
):
    gates = tmp_path / "gates"
    gates.mkdir()
    workers.settings.triton_url = served.url
    workers.settings.global_model = MODEL
    # So many processes start at once that a short lease runs out in living hands.
    workers.settings.lease_seconds = 120
    workers.app = "tests.helpers.gates:app"
    workers.environment = {"GATES": str(gates)}
    workers.slots = len(CHAIN) + len(ANALYSIS) + 1
    workers.settings.user_steps = workers.slots
    with workers.sessions.begin() as session:
        hook = f"json://127.0.0.1:{web.port}/hook"
        add_rule(session, workers.settings, "ada", hook)
        key = create_key(session, workers.settings, "ada")
    workers.start(gateway=True)

    chain = Work(file_path="clip.mp4", num_frames=3, names=("blob",))
    analysis = Work(file_path="clip.mp4", model_name=MODEL)
    killed: dict[str, str] = {}
    reached = []
    for kind, work, steps in (("loop", chain, CHAIN), ("inference", analysis, ANALYSIS)):
        for step in steps:
            task_id = workers.add(kind, work)
            killed[task_id] = step
            # Waiting for labels has no end to be killed at before they are there.
            moment = "before" if step == "labels" else "after"
            reached.append(arm(gates, task_id, step, moment))
            workers.dispatcher.send(task_id)
    wait_until(lambda: all(gate.exists() for gate in reached), 240, "every gate to be reached")
    # Not only what runs: what runs beside a held step may not have been taken yet.
    wait_until(
        lambda: all(attempts(workers, task) == held_at(step) for task, step in killed.items()),
        120,
        "the others to end",
    )
    workers.kill()
    with workers.sessions() as session:
        query = select(Notification.id).where(Notification.state == "sending")
        in_the_air = len(session.scalars(query).all())
    workers.expire_leases()

    workers.start(gateway=True)
    whole = {
        "loop": workers.submit("loop", chain),
        "inference": workers.submit("inference", analysis),
    }
    loops = [task_id for task_id, step in killed.items() if step in CHAIN] + [whole["loop"]]
    analyses = [task_id for task_id, step in killed.items() if step in ANALYSIS]
    analyses.append(whole["inference"])
    for task_id in loops:
        workers.wait_for(task_id, "waiting")
        label_all(workers, task_id)
    for task_id in analyses:
        workers.wait_for(task_id)
    for task_id in loops:
        workers.wait_for(task_id, "running")
    told = len(loops) * len(CHAIN_EVENTS) + len(analyses) * len(ANALYSIS_EVENTS)

    def all_told() -> bool:
        with workers.sessions() as session:
            states = list(session.scalars(select(Notification.state)))
        return len(states) == told and set(states) == {"sent"}

    wait_until(all_told, 180, "the notifications")

    layout = workers.settings.layout
    for task_id, step in killed.items():
        steps = CHAIN if step in CHAIN else (*CHAIN[:3], *ANALYSIS)
        expected = Counter({(name, "succeeded"): 1 for name in steps})
        expected[(step, "lost")] = 1
        assert attempts(workers, task_id) == expected, step
    with workers.sessions() as session:
        rows = session.scalars(select(Event).order_by(Event.id)).all()
        events = {t: [e.name for e in rows if e.task_id == t] for t in (*loops, *analyses)}
    assert {tuple(events[task_id]) for task_id in loops} == {tuple(CHAIN_EVENTS)}
    assert {tuple(events[task_id]) for task_id in analyses} == {tuple(ANALYSIS_EVENTS)}

    for task_id in loops:
        for place in (layout.frames, layout.labels, layout.preannotations):
            assert files(place(task_id)) == files(place(whole["loop"])), (task_id, place)
    for task_id in analyses:
        assert files(layout.results(task_id)) == files(layout.results(whole["inference"]))
        results = json.loads((layout.results(task_id) / "results.json").read_text())
        assert len(results["results"]) == 24
    assert len(files(layout.frames(whole["loop"]))) == 3
    assert half_files(layout.root) == []

    messages = Counter(
        (body["title"], body["message"]) for body in map(json.loads, web.requests["/hook"])
    )
    assert len(messages) == told
    # Whether a message was taken is known only after its answer: these may come twice.
    assert sum(messages.values()) <= told + in_the_air

    with httpx.Client(
        base_url=f"http://127.0.0.1:{workers.gateway_port}",
        headers={"X-API-Key": key},
        trust_env=False,
    ) as client:
        for task_id in (*loops, *analyses):
            status = client.get(f"/status/{task_id}").raise_for_status().json()
            with workers.sessions() as session:
                assert status["process_status"]["state"] == read_task(session, task_id).state
