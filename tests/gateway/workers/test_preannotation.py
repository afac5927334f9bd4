"""The step that labels frames with a served model: by a real Triton, in a task's own words."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import onnx
import pytest
from fastapi.testclient import TestClient

from components.errors import Unavailable
from components.export.graft import graft
from components.labeling.label_studio.tasks import read_findings
from components.labels import LabelSpec
from components.served_model import ModelCard
from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from components.settings import Settings
from components.storage import open_storage
from gateway.app import create_app
from gateway.database import open_database, upgrade_database
from gateway.keys import create_key
from gateway.steps.analysis import preannotate
from gateway.steps.context import StepContext
from gateway.work import Work
from tests.gateway.workers.conftest import MODEL
from tests.helpers.servers import TritonServer, free_ports
from tests.helpers.tiny_onnx import draw_frame, plain_tiny_model, write_tiny_model

pytestmark = pytest.mark.slow

TASK = "t-000000000001"


@pytest.fixture
def settings(tmp_path, served: TritonServer) -> Settings:
    return Settings(
        home=tmp_path,
        triton_url=served.url,
        global_model=MODEL,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
    )


@pytest.fixture
def step(settings: Settings) -> Callable[..., dict[str, Any]]:
    """Runs the step for a task of ada's with three frames of a red and a green blob each."""
    frames = settings.layout.frames(TASK)
    frames.mkdir(parents=True)
    for seed in range(3):
        cv2.imwrite(str(frames / f"frame_{seed:06d}.png"), draw_frame((192, 144), seed=seed)[0])

    def run(settings: Settings = settings, attempt: int = 1, **work: Any) -> dict[str, Any]:
        return preannotate(
            StepContext(
                settings=settings,
                storage=open_storage(settings),
                task_id=TASK,
                user_id="ada",
                work=Work(**work),
                facts={},
                progress=lambda done, total, **facts: None,
                check=lambda: None,
                attempt=attempt,
            )
        )

    return run


@pytest.fixture
def champion(served: TritonServer) -> Iterator[str]:
    """The name of ada's own model, which is served too."""
    repository = ModelRepository(served.settings)
    write_tiny_model(repository.onnx("ada-detect", 4), seed=2)
    repository.write_config("ada-detect", {4})
    with TritonControl(served.url) as control:
        control.load("ada-detect")
        yield "ada-detect"
        control.unload("ada-detect")


def test_the_global_model_labels_in_the_tasks_words(step, settings: Settings):
    facts = step(names=("green", "mouse"), task="pose", keypoints=("right",))
    target = settings.layout.preannotations(TASK)
    assert facts == {
        **{"model": MODEL, "version": 1, "reason": ""},
        **{"images": 3, "objects": 3, "left_out": {"red": 3}},
    }
    assert (target / "classes.txt").read_text() == "green\nmouse\n"
    assert json.loads((target / "predictions.json").read_text()) == {
        "model": MODEL,
        "version": 1,
        "confidence": 0.25,
        "keypoints": ["right"],
    }
    for frame in range(3):
        (line,) = (target / f"frame_{frame:06d}.txt").read_text().splitlines()
        assert line.startswith("0 ")
        assert len(line.split()) == 9


def test_label_studio_shows_all_of_it_in_the_same_words(step, settings: Settings):
    spec = LabelSpec(task="pose", names=("green", "mouse"), keypoints=("right",))
    facts = step(**spec.model_dump(include={"task", "names", "keypoints"}))
    target = settings.layout.preannotations(TASK)
    classes = (target / "classes.txt").read_text().splitlines()
    found = [
        one
        for frame in range(3)
        for one in read_findings(target / f"frame_{frame:06d}.txt", classes, spec, (192, 144))
    ]
    assert len(found) == facts["objects"]
    assert {(one.object.name, *one.object.keypoints) for one in found} == {("green", "right")}


def test_a_first_round_leaves_the_users_own_model_alone(step, champion: str):
    assert step()["model"] == MODEL


def test_a_further_round_begins_with_the_users_own_model(step, champion: str):
    facts = step(round=2)
    assert (facts["model"], facts["version"], facts["objects"]) == (champion, 4, 6)
    assert step(round=2, model_name=MODEL)["model"] == MODEL


def test_a_further_round_falls_back_to_the_global_model(step):
    assert step(round=2)["model"] == MODEL


def test_where_the_users_own_model_finds_nothing_the_global_one_labels(step, served: TritonServer):
    repository = ModelRepository(served.settings)
    card = ModelCard(labels=LabelSpec(names=("cat", "dog")), imgsz=96, stride=32)
    path = repository.onnx("ada-cats", 1)
    path.parent.mkdir(parents=True)
    onnx.save(graft(plain_tiny_model(task="detect"), card), path)
    repository.write_config("ada-cats", {1})
    with TritonControl(served.url) as control:
        control.load("ada-cats")
        facts = step(round=2, model_name="ada-cats", names=("green", "mouse"))
        control.unload("ada-cats")
    assert (facts["model"], facts["objects"]) == (MODEL, 3)
    assert facts["reason"] == "the model ada-cats finds none of the task's classes in the frames"


@pytest.mark.parametrize(
    ("change", "work", "reason"),
    [
        ({"global_model": "global"}, {}, "no model global is served: the frames go out unlabelled"),
        (
            {"global_model": "global"},
            {"round": 2},
            "no model ada-detect or global is served: the frames go out unlabelled",
        ),
        ({"triton_url": ""}, {}, "no Triton is set: the frames go out unlabelled"),
        ({"global_model": ""}, {}, "no global model is set: the frames go out unlabelled"),
        ({}, {"labels_path": "labels"}, "labels were given"),
    ],
)
def test_without_a_model_the_frames_go_out_unlabelled(
    step, settings: Settings, change: dict, work: dict, reason: str
):
    facts = step(settings.model_copy(update=change), **work)
    assert facts == {"model": "", "reason": reason}
    assert not settings.layout.preannotations(TASK).exists()


@pytest.mark.parametrize("work", [{}, {"round": 2}])
def test_a_triton_that_stays_away_does_not_end_the_task(step, settings: Settings, work: dict):
    away = settings.model_copy(update={"triton_url": f"127.0.0.1:{free_ports(1)[0]}"})
    with pytest.raises(Unavailable):
        step(away, **work)
    facts = step(away, attempt=5, **work)
    assert facts["model"] == ""
    assert facts["reason"].startswith(
        f"the frames go out unlabelled: Triton at {away.triton_url} did not answer"
    )


def test_a_model_whose_process_has_died_does_not_end_the_task(
    step, settings: Settings, dying_model: str
):
    facts = step(settings.model_copy(update={"global_model": dying_model}))
    assert facts["model"] == ""
    assert facts["reason"].startswith("the frames go out unlabelled: Triton could not do its part")
    assert not settings.layout.preannotations(TASK).exists()


def test_a_model_that_knows_none_of_the_classes_says_so(step):
    facts = step(names=("mouse", "rat"))
    assert facts["objects"] == 0
    assert facts["left_out"] == {"red": 3, "green": 3}
    assert facts["reason"] == f"the model {MODEL} finds none of the task's classes in the frames"


def test_everybody_sees_the_global_model_and_only_their_own_others(
    settings: Settings, champion: str
):
    upgrade_database(settings.database_url)
    with open_database(settings.database_url).begin() as session:
        keys = [create_key(session, settings, "bob"), create_key(session, settings, "eve", "admin")]
    app = create_app(settings)

    def listed(key: str) -> set[str]:
        answer = TestClient(app, headers={"X-API-Key": key}).get("/models")
        return {model["model"] for model in answer.json()["models"]}

    assert [listed(key) for key in keys] == [{MODEL}, {MODEL, champion}]
