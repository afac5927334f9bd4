"""The whole backend, against a real Label Studio."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr

from components.errors import BadLabels, NotFound, Unauthorized, Unavailable
from components.labeling.backend import ProjectPlan
from components.labeling.formats import open_format
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.label_studio.backend import LabelStudioBackend
from components.labeling.label_studio.results import result_of
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from components.storage import Storage
from tests.components.labeling.label_studio.conftest import (
    MOUSE,
    POSE,
    SIZE,
    add_frames,
    images_of,
)
from tests.helpers.label_studio import TOKEN, LabelStudioServer
from tests.helpers.servers import free_ports, wait_until

pytestmark = [pytest.mark.label_studio, pytest.mark.slow]

NewPlan = Callable[..., ProjectPlan]
BOX = LabelledObject("mouse", (8.0, 6.0, 24.0, 30.0))
RAT = LabelledObject("rat", (30.0, 10.0, 50.0, 40.0))


def tasks_of(sdk: LabelStudio, project: dict[str, Any]) -> list[Any]:
    """The tasks of a project, in the order of its frames."""
    pager = sdk.tasks.list(project=int(project["project"]), page=1, page_size=1000)
    return sorted(pager.items or [], key=lambda task: task.data["frame"])


def annotate(sdk: LabelStudio, task: Any, *objects: LabelledObject, **more: Any) -> Any:
    """Submit an annotation, as a person does."""
    return sdk.annotations.create(task.id, result=result_of(objects, SIZE), **more)


def test_project_is_opened_once_and_missing_images_are_completed(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=3)
    told: list[tuple[float, float]] = []
    # One of a longer title is another.
    other = label_studio.sdk().projects.create(title=f"{plan.title}-old")
    first = backend.open(plan, lambda done, total: told.append((done, total)))
    assert first | {"project": "", "url": ""} == {
        "tool": "label-studio",
        "project": "",
        "url": "",
        "frames": 3,
        "title": plan.title,
    }
    assert first["url"] == f"{label_studio.url}/projects/{first['project']}/data"
    assert told == [(3, 3)]
    assert first["project"] != str(other.id)
    json.dumps(first)
    sdk = label_studio.sdk()
    sdk.tasks.delete(str(tasks_of(sdk, first)[1].id))
    add_frames(plan.frames, range(3, 5))
    second = backend.open(plan)
    assert second == first | {"frames": 5}
    assert [task.data["frame"] for task in tasks_of(sdk, second)] == sorted(images_of(plan))
    assert len(sdk.import_storage.local.list(project=int(first["project"]))) == 1
    assert backend.open(plan) == second
    assert len(tasks_of(sdk, second)) == 5


def test_many_images_come_in_several_requests(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=120)
    told: list[float] = []
    project = backend.open(plan, lambda done, total: told.append(done))
    assert told == [100, 120]
    assert backend.state(project).total == 120


def test_predictions_are_shown_with_their_scores_and_the_model(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    text = "1 0.5 0.5 0.25 0.5 0.4 0.5 0.9 0.6 0.5 0.1 0.8\n0 0.2 0.2 0.1 0.1 0 0 0 0 0 0 0.6\n"
    plan = new_plan(wanted=POSE, predictions=text, classes=("dog", "mouse"), model="global 3")
    project = backend.open(plan)
    sdk = label_studio.sdk()
    settings = sdk.projects.get(int(project["project"]))
    assert (settings.model_version, settings.show_collab_predictions) == ("global 3", True)
    for task in tasks_of(sdk, project):
        (prediction,) = task.predictions
        prediction = prediction if isinstance(prediction, dict) else prediction.dict()
        assert (prediction["model_version"], prediction["score"]) == ("global 3", 0.8)
        box, point = prediction["result"]
        assert box["score"] == 0.8
        assert box["value"]["rectanglelabels"] == ["mouse"]
        assert [box["value"][key] for key in ("x", "y", "width", "height")] == pytest.approx(
            [37.5, 25, 25, 50]
        )
        assert point["parentID"] == box["id"]
        assert point["value"]["keypointlabels"] == ["nose"]
        assert [point["value"][key] for key in ("x", "y")] == pytest.approx([40, 50])


def test_images_are_served_to_who_is_logged_in_only(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=1)
    project = backend.open(plan)
    (task,) = tasks_of(label_studio.sdk(), project)
    (image,) = images_of(plan).values()
    with label_studio.logged_in() as person:
        answer = person.get(task.data["image"])
        assert answer.content == image.read_bytes()
        assert answer.headers["content-type"] == "image/jpeg"
        secret = label_studio.settings.home / "secret.txt"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("secret")
        for path in ("../secret.txt", f"frames/{plan.frames.name}/../../../secret.txt"):
            assert person.get(f"/data/local-files/?d={path}").status_code >= 400
        person.cookies.clear()
        assert person.get(task.data["image"]).status_code in (302, 401, 403)


def test_an_annotation_counts_also_where_a_tasks_counters_have_lost_it(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    project = backend.open(new_plan(count=2))
    one, two = tasks_of(label_studio.sdk(), project)
    annotate(label_studio.sdk(), one, BOX)
    annotate(label_studio.sdk(), two, was_cancelled=True)
    # As Label Studio was seen to leave them, by a race of its own.
    database = label_studio.log.parent / "data" / "label_studio.sqlite3"
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        lost = "UPDATE task SET total_annotations = 0, cancelled_annotations = 0, is_labeled = 0"
        connection.execute(f"{lost} WHERE project_id = ?", [int(project["project"])])
    state = backend.state(project)
    assert (state.total, state.labelled, state.skipped) == (2, 1, 1)


def test_state_counts_labelled_and_skipped_and_marks_each_change(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    project = backend.open(new_plan(count=3))
    sdk = label_studio.sdk()
    one, two, three = tasks_of(sdk, project)
    marks = []

    def counts() -> tuple[int, int, int]:
        state = backend.state(project)
        assert backend.state(project) == state
        marks.append(state.mark)
        return state.total, state.labelled, state.skipped

    assert counts() == (3, 0, 0)
    made = annotate(sdk, one, BOX)
    assert counts() == (3, 1, 0)
    passed = annotate(sdk, two, was_cancelled=True)
    assert counts() == (3, 1, 1)
    annotate(sdk, three)
    assert counts() == (3, 2, 1)
    assert backend.state(project).complete
    sdk.annotations.update(made.id, result=result_of([BOX, RAT], SIZE))
    assert counts() == (3, 2, 1)
    sdk.annotations.update(passed.id, was_cancelled=False)
    assert counts() == (3, 3, 0)
    sdk.annotations.delete(made.id)
    assert counts() == (3, 2, 0)
    annotate(sdk, three, was_cancelled=True)
    assert counts() == (3, 2, 0)
    assert len(set(marks)) == len(marks)


def test_labels_are_read_by_name_with_negatives_and_skipped_ones(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=6)
    project = backend.open(plan)
    sdk = label_studio.sdk()
    tasks = tasks_of(sdk, project)
    stems = [task.data["frame"] for task in tasks]
    annotate(sdk, tasks[0], RAT, BOX)
    annotate(sdk, tasks[1])
    annotate(sdk, tasks[2], BOX, was_cancelled=True)
    annotate(sdk, tasks[3], BOX)
    annotate(sdk, tasks[3], RAT, was_cancelled=True)
    annotate(sdk, tasks[4], LabelledObject("Mouse", BOX.xyxy))
    # Names count, not their order in the task.
    wanted = replace(MOUSE, names=("rat", "mouse"))
    found = backend.read(project, wanted, images_of(plan))
    assert found.frames.keys() == {stems[0], stems[1], stems[3]}
    assert found.skipped == {stems[2]}
    assert found.frames[stems[0]].labels.class_ids.tolist() == [0, 1]
    assert found.frames[stems[0]].labels.boxes_cxcywhn[1] == pytest.approx(
        [16 / 64, 18 / 48, 16 / 64, 24 / 48]
    )
    assert found.frames[stems[0]].file == f"{stems[0]}.jpg"
    assert found.frames[stems[0]].size_wh == SIZE
    assert len(found.frames[stems[1]].labels) == 0
    assert found.frames[stems[3]].labels.class_ids.tolist() == [1]
    assert found.faults.keys() == {stems[4]}
    assert stems[4] in found.faults[stems[4]]
    assert "'Mouse' is written 'mouse'" in found.faults[stems[4]]
    # Where the task names no class, those of the project count.
    assert backend.read(project, WantedLabels(), images_of(plan)).spec.names == ("mouse", "rat")


def test_of_two_annotators_the_latest_counts_but_ground_truth_first(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=1)
    project = backend.open(plan)
    sdk = label_studio.sdk()
    other = sdk.users.create(email=f"{plan.frames.name}@example.com", username=plan.frames.name)
    (task,) = tasks_of(sdk, project)
    (stem,) = images_of(plan)

    def classes() -> list[int]:
        return backend.read(project, MOUSE, images_of(plan)).frames[stem].labels.class_ids.tolist()

    first = annotate(sdk, task, BOX)
    second = annotate(sdk, task, RAT, RAT, completed_by=other.id)
    assert classes() == [1, 1]
    sdk.annotations.update(first.id, result=result_of([BOX], SIZE))
    assert classes() == [0]
    sdk.annotations.update(second.id, ground_truth=True)
    sdk.annotations.update(first.id, result=result_of([BOX, RAT], SIZE))
    assert classes() == [1, 1]


def test_project_that_was_deleted_is_gone_and_takes_its_labels_back(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=4, wanted=POSE)
    project = backend.open(plan)
    sdk = label_studio.sdk()
    tasks = tasks_of(sdk, project)
    mouse = replace(BOX, keypoints={"nose": (10.0, 8.0, 2), "tail": (20.0, 28.0, 1)})
    annotate(sdk, tasks[0], mouse)
    annotate(sdk, tasks[1])
    annotate(sdk, tasks[2], was_cancelled=True)
    before = backend.read(project, POSE, images_of(plan))
    sdk.projects.delete(int(project["project"]))
    for asked in (backend.state, lambda it: backend.read(it, POSE, images_of(plan))):
        with pytest.raises(NotFound, match="deleted"):
            asked(project)
    again = backend.open(plan)
    assert again["project"] != project["project"]
    assert backend.add(again, before) == 2
    after = backend.read(again, POSE, images_of(plan))
    assert after.frames.keys() == before.frames.keys()
    assert after.skipped == before.skipped
    for stem, frame in before.frames.items():
        same = after.frames[stem].labels
        np.testing.assert_array_equal(same.class_ids, frame.labels.class_ids)
        np.testing.assert_allclose(same.boxes_cxcywhn, frame.labels.boxes_cxcywhn, atol=1e-6)
        np.testing.assert_allclose(same.keypoints_xyvn, frame.labels.keypoints_xyvn, atol=1e-6)
    assert after.frames[tasks[0].data["frame"]].labels.keypoints_xyvn[0, :, 2].tolist() == [2, 1]


def test_added_labels_replace_what_was_there(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=2)
    project = backend.open(plan)
    sdk = label_studio.sdk()
    one, two = tasks_of(sdk, project)
    annotate(sdk, one, BOX, ground_truth=True)
    annotate(sdk, one, was_cancelled=True)
    annotate(sdk, two, BOX)
    spec = LabelSpec(names=("rat",))
    stem = one.data["frame"]
    rat = frame_labels([RAT], spec, SIZE, stem)
    given = LabelSet(spec, {stem: LabelledFrame(f"{stem}.jpg", SIZE, rat)})
    assert backend.add(project, given) == 1
    found = backend.read(project, MOUSE, images_of(plan))
    assert found.frames[stem].labels.class_ids.tolist() == [1]
    assert found.frames[two.data["frame"]].labels.class_ids.tolist() == [0]
    assert len(tasks_of(sdk, project)[0].annotations) == 1
    state = backend.state(project)
    strange = LabelSet(spec, {"frame_000099": given.frames[stem]} | given.frames)
    with pytest.raises(BadLabels, match="frame_000099"):
        backend.add(project, strange)
    cat = LabelSpec(names=("cat",))
    with pytest.raises(BadLabels, match="cat"):
        backend.add(project, replace(given, spec=cat))
    assert backend.state(project) == state


def test_new_class_is_added_to_the_project(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=1)
    project = backend.open(plan)
    sdk = label_studio.sdk()
    (task,) = tasks_of(sdk, project)
    annotate(sdk, task, BOX)
    backend.open(replace(plan, wanted=WantedLabels(names=("mouse", "rat", "cat"))))
    annotate(sdk, task, LabelledObject("cat", BOX.xyxy))
    found = backend.read(project, WantedLabels(), images_of(plan))
    assert found.spec.names == ("mouse", "rat", "cat")
    assert found.objects == {"mouse": 0, "rat": 0, "cat": 1}


def test_strange_names_survive(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    names = ("Mäuse & 'Co' <i>\"x\"</i>", "$image", "a,b;c", "鼠 🐭", "]]>", "A&amp;B")
    wanted = WantedLabels(task="pose", names=names, keypoints=("<nose>", '"$tail"'))
    text = "".join(f"{index} .5 .5 .4 .4 .5 .5 1 .6 .6 1 .9\n" for index in range(len(names)))
    plan = new_plan(count=1, wanted=wanted, predictions=text, classes=names, model='m "1"')
    project = backend.open(plan)
    sdk = label_studio.sdk()
    (task,) = tasks_of(sdk, project)
    (prediction,) = task.predictions
    prediction = prediction if isinstance(prediction, dict) else prediction.dict()
    sdk.annotations.create(task.id, result=prediction["result"])
    found = backend.read(project, replace(wanted, names=(), keypoints=()), images_of(plan))
    assert (found.spec.names, found.spec.keypoints) == (names, wanted.keypoints)
    assert not found.faults
    (frame,) = found.frames.values()
    assert frame.labels.class_ids.tolist() == list(range(len(names)))
    assert (frame.labels.keypoints_xyvn[..., 2] == 2).all()


def test_either_kind_of_token_works_and_a_wrong_one_is_named(
    label_studio: LabelStudioServer, storage: Storage, new_plan: NewPlan
) -> None:
    personal = label_studio.sdk().tokens.create().token
    assert personal

    def with_token(token: str) -> LabelStudioBackend:
        settings = label_studio.settings.model_copy(update={"label_studio_token": SecretStr(token)})
        return LabelStudioBackend(settings, storage)

    plan = new_plan(count=1)
    project = with_token(personal).open(plan)
    assert with_token(personal).state(project).total == 1
    for wrong in ("0" * 40, "", personal[:-4] + "AAAA"):
        with pytest.raises(Unauthorized, match="ACTVERSE_LABEL_STUDIO_TOKEN"):
            with_token(wrong).state(project)
        with pytest.raises(Unauthorized, match="ACTVERSE_LABEL_STUDIO_TOKEN"):
            with_token(wrong).open(plan)


def test_server_that_is_away_is_unavailable(
    label_studio: LabelStudioServer, storage: Storage, new_plan: NewPlan
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings = label_studio.settings.model_copy(update={"label_studio_url": url})
    backend = LabelStudioBackend(settings, storage)
    plan = new_plan(count=1)
    for ask in (
        lambda: backend.open(plan),
        lambda: backend.state({"project": "1"}),
        lambda: backend.read({"project": "1"}, MOUSE, images_of(plan)),
    ):
        with pytest.raises(Unavailable, match="ACTVERSE_LABEL_STUDIO_URL"):
            ask()


@pytest.mark.parametrize("status", [500, 502, 200])
def test_answers_that_are_none_of_label_studio_are_unavailable(
    label_studio: LabelStudioServer, storage: Storage, status: int
) -> None:
    with listening(status, b"<html>proxy</html>") as (url, _):
        settings = label_studio.settings.model_copy(update={"label_studio_url": url})
        backend = LabelStudioBackend(settings, storage)
        with pytest.raises(Unavailable, match="project 1"):
            backend.state({"project": "1"})
        with pytest.raises(Unavailable, match="project 1"):
            backend.read({"project": "1"}, MOUSE, {})


@contextmanager
def listening(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """An HTTP server that keeps each POST's Authorization header and JSON."""
    heard: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers.get("Authorization", ""), json.loads(content)))
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_changes_are_told_to_the_hook_with_its_token(
    label_studio: LabelStudioServer, storage: Storage, new_plan: NewPlan
) -> None:
    plan = new_plan(count=2)
    with listening(202, b"{}") as (url, heard):
        backend = LabelStudioBackend(
            label_studio.settings, storage, hook_url=f"{url}/webhooks/label-studio", hook_token="t"
        )
        project = backend.open(plan)
        backend.open(plan)
        sdk = label_studio.sdk()
        one, two = tasks_of(sdk, project)
        made = annotate(sdk, one, BOX)
        sdk.annotations.update(made.id, result=[])
        annotate(sdk, two, was_cancelled=True)
        sdk.annotations.delete(made.id)
        wait_until(lambda: len(heard) == 4, what="the hook")
    assert {authorization for authorization, _ in heard} == {"Bearer t"}
    assert [body["action"] for _, body in heard] == [
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATION_CREATED",
        "ANNOTATIONS_DELETED",
    ]
    assert {body["project"]["title"] for _, body in heard} == {plan.title}
    # A new token takes the place of the old one.
    other = LabelStudioBackend(
        label_studio.settings, storage, hook_url=f"{url}/webhooks/label-studio", hook_token="u"
    )
    other.open(plan)
    (hook,) = sdk.webhooks.list(project=project["project"])
    assert hook.headers == {"Authorization": "Bearer u"}


def test_hook_that_label_studio_refuses_does_not_stop_it(
    label_studio: LabelStudioServer,
    storage: Storage,
    new_plan: NewPlan,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = LabelStudioBackend(
        label_studio.settings, storage, hook_url="http://10.1.2.3/hook", hook_token="secret-token"
    )
    project = backend.open(new_plan(count=1))
    assert backend.state(project).total == 1
    assert "has no webhook" in caplog.text
    assert "secret-token" not in caplog.text


def test_title_is_cut_to_what_label_studio_takes(
    backend: LabelStudioBackend,
    label_studio: LabelStudioServer,
    storage: Storage,
    new_plan: NewPlan,
) -> None:
    plan = new_plan(count=1)
    own = storage.layout.user_file("ada", f"{plan.task_id}/my frames")
    own.parent.mkdir(parents=True)
    own = plan.frames.rename(own)
    plan = replace(plan, title=f"{'the mice of my long study ' * 4}-{plan.task_id}", frames=own)
    projects = [backend.open(plan) for _ in range(2)]
    assert projects[0] == projects[1]
    kept = label_studio.sdk().projects.get(int(projects[0]["project"])).title
    assert kept == projects[0]["title"]
    assert kept is not None
    assert kept.endswith(f"-{plan.task_id}")
    assert kept.startswith("the mice of my long study")
    assert len(kept) <= 50


def test_of_those_who_open_it_at_once_all_take_one_project(
    backend: LabelStudioBackend, label_studio: LabelStudioServer, new_plan: NewPlan
) -> None:
    plan = new_plan(count=1)
    opened: list[str] = []

    def open_it() -> None:
        while True:
            try:
                opened.append(backend.open(plan)["project"])
                return
            except Unavailable:
                pass  # Its SQLite takes one writer at a time, and says so by an error.

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    titled = label_studio.sdk().projects.list(title=plan.title, page_size=100).items
    assert titled is not None
    assert set(opened) == {str(min(one.id for one in titled))}


def test_an_exported_file_is_imported_by_label_studio(
    backend: LabelStudioBackend,
    label_studio: LabelStudioServer,
    new_plan: NewPlan,
    tmp_path: Path,
) -> None:
    plan = new_plan(count=2, wanted=POSE)
    mouse = replace(BOX, keypoints={"nose": (10.0, 8.0, 2), "tail": (20.0, 28.0, 1)})
    one, two = images_of(plan)
    spec = LabelSpec(task="pose", names=POSE.names, keypoints=POSE.keypoints)
    labels = frame_labels([mouse], spec, SIZE, one)
    module = open_format("label-studio")
    module.write(
        LabelSet(spec, {one: LabelledFrame(f"{one}.jpg", SIZE, labels)}, frozenset({two})), tmp_path
    )
    sdk = label_studio.sdk()
    made = sdk.projects.create(
        title="imported", label_config=(tmp_path / "label_config.xml").read_text()
    )
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    sdk.projects.import_tasks(id=made.id, request=tasks)
    found = backend.read({"project": str(made.id)}, POSE, images_of(plan))
    assert found.skipped == {two}
    np.testing.assert_allclose(
        found.frames[one].labels.keypoints_xyvn, labels.keypoints_xyvn, atol=1e-6
    )
    # And out again by its own export.
    answer = httpx.get(
        f"{label_studio.url}/api/projects/{made.id}/export",
        params={"exportType": "JSON"},
        headers={"Authorization": f"Token {TOKEN}"},
        timeout=60,
        trust_env=False,
    )
    exported = tmp_path / "project-at-2026.json"
    exported.write_bytes(answer.content)
    again = module.read(exported, POSE, images_of(plan))
    assert again.skipped == {two}
    np.testing.assert_allclose(
        again.frames[one].labels.boxes_cxcywhn, labels.boxes_cxcywhn, atol=1e-6
    )
