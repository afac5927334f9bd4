"""Many hints, wishes and workers at once on labels that are complete: one training begins."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from components.errors import Conflict
from components.settings import Settings
from components.storage import open_storage
from gateway.database import Sessions
from gateway.flows import TRAINING
from gateway.labeling import finish_labeling
from gateway.leases import claim_any, claim_step
from gateway.models import Attempt, Event
from gateway.rounds import look_at_labels
from gateway.runner import StepRunner
from gateway.steps import FUNCTIONS
from gateway.steps.context import StepContext
from gateway.tasks import create_task, read_task
from gateway.webhook import label_studio_token
from gateway.work import Work
from tests.helpers.label_images import make_images
from tests.helpers.tasks import set_step

LEASE = timedelta(seconds=30)
STEMS = tuple(f"frame_{number:06}" for number in range(4))
THREADS, TIMES = 9, 6


class _House:
    """A task whose labels are waited for, and those who come for them."""

    def __init__(self, settings: Settings, sessions: Sessions, client: TestClient) -> None:
        self.sessions, self.client = sessions, client
        storage = open_storage(settings)
        self.runner = StepRunner(settings, sessions, storage)
        with sessions.begin() as session:
            work = Work(file_path="clip.mp4", names=("mouse",), labeling_tool="folder")
            self.task_id = create_task(session, "ada", "loop", work).id
        make_images(storage.layout.frames(self.task_id), *(f"{stem}.jpg" for stem in STEMS))
        for name in ("download", "validate", "convert", "extract", "preannotate"):
            set_step(sessions, self.task_id, name, state="succeeded")
        self.run_step("labeling", "w")
        project = storage.layout.user_file("ada", f"labeling/actverse-{self.task_id}")
        self.labels: Path = project / "labels"
        self.trainings: list[str] = []

    def label(self, *stems: str) -> None:
        for stem in stems:
            (self.labels / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    def run_step(self, name: str, holder: str) -> None:
        with self.sessions.begin() as session:
            step = claim_step(session, self.task_id, name, holder, LEASE)
        if step:
            self.runner.run(step, holder, FUNCTIONS[name])

    def train(self, holder: str) -> None:
        """As the watcher does it."""

        def begin(context: StepContext) -> dict[str, Any]:
            self.trainings.append(context.task_id)
            return {}

        with self.sessions.begin() as session:
            step = claim_any(session, (TRAINING,), holder, LEASE)
        if step:
            self.runner.run(step, holder, begin)

    def tell(self) -> None:
        """As Label Studio does it."""
        event = {"action": "ANNOTATION_CREATED", "project": {"title": f"mice-{self.task_id}"}}
        headers = {"Authorization": f"Bearer {label_studio_token('webhook-secret')}"}
        assert self.client.post("/webhooks/label-studio", json=event, headers=headers).is_success

    def look(self) -> None:
        with self.sessions.begin() as session:
            look_at_labels(session, self.task_id)

    def finish(self) -> None:
        """As a user does it; who comes after the labels were taken is told so."""
        with suppress(Conflict), self.sessions.begin() as session:
            finish_labeling(session, read_task(session, self.task_id))


@pytest.fixture
def house(settings: Settings, sessions: Sessions, client: TestClient) -> _House:
    made = _House(settings.model_copy(update={"labeling_settle_seconds": 0.0}), sessions, client)
    made.label(*STEMS[:-1])
    made.run_step("labels", "w")
    return made


@pytest.mark.parametrize("by_hand", [False, True])
def test_however_many_hints_come_one_training_begins(house: _House, by_hand: bool):
    together = threading.Barrier(THREADS)
    hints: tuple[Callable[[], None], ...] = (house.tell, house.look)
    hints += (house.finish,) if by_hand else ()

    def come(number: int) -> None:
        together.wait(30)
        for time in range(TIMES):
            if number == 0 and time == TIMES // 2:
                house.label(STEMS[-1])
            hints[(number + time) % len(hints)]()
            house.run_step("labels", f"w{number}")
            house.train(f"t{number}")

    with ThreadPoolExecutor(THREADS) as pool:
        for one in [pool.submit(come, number) for number in range(THREADS)]:
            one.result()
    # What a hint that came during a look has left to do.
    house.look()
    house.run_step("labels", "w")
    house.train("t")
    assert house.trainings == [house.task_id]
    with house.sessions() as session:
        ended = session.execute(
            select(Attempt.step, func.count())
            .where(Attempt.step.in_(("labels", TRAINING)))
            .group_by(Attempt.step)
        )
        assert dict(ended.tuples().all()) == {"labels": 1, TRAINING: 1}
        names = list(session.scalars(select(Event.name)))
        assert names.count("LABELING_COMPLETED") == 1
        labels = next(s for s in read_task(session, house.task_id).steps if s.name == "labels")
        assert labels.state == "succeeded"
