"""The steps around the labels with a real Label Studio: what fails there costs nobody a label."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from components.labeling.draft import load_draft
from components.labeling.label_studio.backend import LabelStudioBackend
from components.settings import Settings
from components.storage import open_storage
from gateway.steps.context import StepContext, Waiting
from gateway.steps.labeling import request_labels, take_labels
from gateway.work import Work
from tests.helpers.label_images import make_images
from tests.helpers.label_studio import (
    LabelStudioServer,
    missing_label_studio,
    running_label_studio,
)
from tests.helpers.servers import free_ports

pytestmark = [pytest.mark.label_studio, pytest.mark.slow]

WORK = Work(project_name="arena", names=("mouse",), labeling_tool="label-studio")
BOX = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["mouse"]}
STEMS = "frame_000001", "frame_000004"


@pytest.fixture(scope="module")
def tool(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LabelStudioServer]:
    if why := missing_label_studio():
        pytest.skip(why)
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("label_studio")
    with running_label_studio(tmp_path_factory.mktemp("label_studio"), cache) as server:
        yield server


@dataclass
class Labelling:
    """A task of ada's with two frames in a project of its own."""

    tool: LabelStudioServer
    task_id: str
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def usual(self) -> Settings:
        """Complete labels count at once."""
        return self.tool.settings.model_copy(update={"labeling_settle_seconds": 0.0})

    def ask(self) -> None:
        frames = self.usual.layout.frames(self.task_id)
        make_images(frames, *(f"{stem}.jpg" for stem in STEMS))
        self.facts = {"labeling": request_labels(self.context(self.usual))}

    def context(self, settings: Settings) -> StepContext:
        return StepContext(
            settings=settings,
            storage=open_storage(settings),
            task_id=self.task_id,
            user_id="ada",
            work=WORK,
            facts=self.facts,
            progress=lambda done, total, **facts: None,
            check=lambda: None,
        )

    def take(self, settings: Settings | None = None) -> dict[str, Any]:
        try:
            return take_labels(self.context(settings or self.usual))
        except Waiting as waiting:
            self.facts["labels"] = waiting.facts
            raise

    @property
    def project(self) -> int:
        return int(self.facts["labeling"]["project"])

    def label(self, number: int) -> None:
        """Label the first frames, as a person does."""
        sdk = self.tool.sdk()
        pager = sdk.tasks.list(project=self.project, page=1, page_size=10)
        tasks = sorted(pager.items or [], key=lambda task: task.data["frame"])
        place = {"original_width": 100, "original_height": 80, "image_rotation": 0}
        names = {"from_name": "box", "to_name": "image", "type": "rectanglelabels"}
        for task in tasks[:number]:
            if not task.annotations:
                sdk.annotations.create(task.id, result=[{**names, **place, "value": BOX}])


def _open(tool: LabelStudioServer, task_id: str) -> Labelling:
    task = Labelling(tool, task_id)
    task.ask()
    return task


def test_a_project_that_was_deleted_holds_up_no_other_task(tool: LabelStudioServer):
    lost, other = _open(tool, "t-lost"), _open(tool, "t-other")
    lost.label(1)
    with pytest.raises(Waiting, match=r"1 of 2 frames are labelled"):
        lost.take()
    tool.sdk().projects.delete(lost.project)
    with pytest.raises(Waiting, match=r"deleted.*labels of 1 frames are kept.*restore t-lost") as e:
        lost.take()
    assert (e.value.fault, e.value.done, e.value.total) == (str(e.value), 1, 2)
    other.label(2)
    assert other.take()["counts"] == {"images": 2, "objects": 2, "mouse": 2}
    # Restored, with what had been labelled.
    gone = lost.project
    lost.ask()
    assert lost.project != gone
    with pytest.raises(Waiting, match=r"1 of 2 frames are labelled"):
        lost.take()
    backend = LabelStudioBackend(tool.settings, open_storage(tool.settings))
    assert backend.state(lost.facts["labeling"]).labelled == 1


@pytest.mark.parametrize("number", [1, 2])
def test_tasks_that_were_deleted_are_put_up_again_with_their_labels(
    tool: LabelStudioServer, number: int
):
    task = _open(tool, f"t-gone-{number}")
    task.label(2)
    unsettled = task.usual.model_copy(update={"labeling_settle_seconds": 600.0})
    with pytest.raises(Waiting, match="2 of 2 frames are labelled"):
        task.take(unsettled)
    sdk, project = tool.sdk(), task.project
    for one in (sdk.tasks.list(project=project).items or [])[:number]:
        sdk.tasks.delete(str(one.id))
    with pytest.raises(Waiting, match=rf"{number} of 2 frames are gone .*restore t-gone-{number}"):
        task.take()
    task.ask()
    assert task.project == project
    assert task.take()["counts"] == {"images": 2, "objects": 2, "mouse": 2}


@pytest.mark.parametrize("trouble", ["token", "away"])
def test_a_tool_that_refuses_or_is_away_is_waited_for(tool: LabelStudioServer, trouble: str):
    task = _open(tool, f"t-{trouble}")
    task.label(1)
    with pytest.raises(Waiting):
        task.take()
    update: dict[str, Any] = {"label_studio_token": SecretStr("6" * 40)}
    if trouble == "away":
        update = {"label_studio_url": f"http://127.0.0.1:{free_ports(1)[0]}"}
    amiss = task.usual.model_copy(update=update)
    with pytest.raises(Waiting) as caught:
        task.take(amiss)
    assert caught.value.fault
    assert "6" * 40 not in caught.value.fault
    assert (caught.value.done, caught.value.total) == (1, 2)
    with pytest.raises(Waiting) as caught:
        request_labels(task.context(amiss))
    assert caught.value.fault
    draft = task.usual.layout.labels_draft(task.task_id)
    assert load_draft(draft).objects == {"mouse": 1}
    task.label(2)
    assert task.take()["counts"]["objects"] == 2
