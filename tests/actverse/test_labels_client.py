"""Labels by the Python client: brought in, taken out, gone on with, restored, labelled again."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from actverse import transfers
from actverse.client import Client
from components.errors import BadInput, BadLabels, Conflict, NotFound
from components.labels import LabelSpec
from gateway.tasks import read_task
from tests.actverse.conftest import Gateway
from tests.helpers.label_images import make_images
from tests.helpers.relay import Relay
from tests.helpers.tasks import succeed

BOX = "1 0.5 0.5 0.25 0.5\n"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Labels of the frames 0 to 2, of which the last shows nothing, with images."""
    folder = tmp_path / "given"
    make_images(folder, *(f"frame_{number:06}.png" for number in range(3)))
    for number in range(2):
        (folder / f"frame_{number:06}.txt").write_text(BOX)
    (folder / "frame_000002.txt").touch()
    (folder / "classes.txt").write_text("mouse\nrat\n")
    return folder


def coco(path: Path, *stems: str) -> Path:
    """A COCO file with a rat in each image."""
    images = [
        {"id": n, "file_name": f"{stem}.png", "width": 100, "height": 80}
        for n, stem in enumerate(stems)
    ]
    boxes = [
        {"id": n, "image_id": n, "category_id": 7, "bbox": [10, 20, 30, 40], "area": 1200}
        for n in range(len(stems))
    ]
    categories = [{"id": 7, "name": "rat"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return path


def work(gateway: Gateway, task_id: str) -> dict[str, Any]:
    with gateway.sessions() as session:
        return dict(read_task(session, task_id).request)


def project(gateway: Gateway, client: Client, task_id: str, user: str = "ada") -> Path:
    """The folder in which a task's frames are labelled."""
    return gateway.settings.layout.user_file(user, client.labeling(task_id)["project"])


def uploaded(gateway: Gateway, key: str, user: str = "ada") -> set[str]:
    folder = gateway.settings.layout.user_file(user, key)
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def texts(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: path.read_text() for path in paths}


def test_labels_of_a_folder_are_brought_into_the_project(gateway, client, yolo):
    task_id = gateway.labelling()
    bringing = client.import_labels(task_id, yolo)
    assert bringing != task_id
    sent = work(gateway, bringing)
    names = {f"labels/frame_{number:06}.txt" for number in range(3)}
    assert uploaded(gateway, sent["labels_path"]) == names | {"classes.txt"}
    assert gateway.run_step(bringing, "import_labels") == "succeeded"
    status = client.wait(bringing, timeout=10)
    assert status["steps"][0]["facts"]["images"] == 3
    assert status["steps"][0]["facts"]["objects"] == {"mouse": 0, "rat": 2}
    there = texts((project(gateway, client, task_id) / "labels").iterdir())
    assert {name: text[:1] for name, text in there.items()} == {
        "frame_000000.txt": "1",
        "frame_000001.txt": "1",
        "frame_000002.txt": "",
    }
    gateway.run_step(task_id, "labels")
    labeling = client.labeling(task_id)
    assert (labeling["labelled"], labeling["total"], labeling["tool"]) == (3, 4, "folder")


@pytest.mark.parametrize("named_by", ["labels/classes.txt", "obj.names", "data.yaml"])
def test_classes_count_as_a_folder_names_them(gateway, client, yolo, named_by):
    (yolo / "classes.txt").unlink()
    if named_by.startswith("labels/"):
        (yolo / "labels").mkdir()
        for label in list(yolo.glob("*.txt")):
            label.rename(yolo / "labels" / label.name)
    names = "names: [rat, mouse]" if named_by == "data.yaml" else "rat\nmouse\n"
    (yolo / named_by).write_text(names)
    bringing = client.import_labels(gateway.labelling(), yolo)
    assert named_by in uploaded(gateway, work(gateway, bringing)["labels_path"])
    assert gateway.run_step(bringing, "import_labels") == "succeeded"
    status = client.wait(bringing, timeout=10)
    assert status["steps"][0]["facts"]["objects"] == {"mouse": 2, "rat": 0}


def test_labels_that_all_say_nothing_is_there_are_still_yolo(gateway, client, tmp_path):
    (tmp_path / "empty").mkdir()
    make_images(tmp_path / "empty", "frame_000001.png", "test.png")
    for name in ("frame_000001", "test"):
        (tmp_path / "empty" / f"{name}.txt").touch()
    bringing = client.import_labels(gateway.labelling(), tmp_path / "empty")
    sent = uploaded(gateway, work(gateway, bringing)["labels_path"])
    assert sent == {"labels/frame_000001.txt", "labels/test.txt"}


def test_a_file_of_another_tool_is_brought_and_its_faults_are_told(gateway, client, tmp_path):
    task_id = gateway.labelling()
    good = coco(tmp_path / "good.json", "frame_000003")
    bringing = client.import_labels(task_id, good, "coco")
    assert work(gateway, bringing)["labels_format"] == "coco"
    assert gateway.run_step(bringing, "import_labels") == "succeeded"
    bad = client.import_labels(task_id, coco(tmp_path / "bad.json", "frame_000009"))
    assert gateway.run_step(bad, "import_labels") == "failed"
    assert "frame_000009" in client.wait(bad)["error"]
    labels = project(gateway, client, task_id) / "labels"
    assert [path.name for path in labels.iterdir()] == ["frame_000003.txt"]
    with pytest.raises(BadLabels, match="no labels at"):
        client.import_labels(task_id, tmp_path / "gone.json")
    with pytest.raises(NotFound, match="uploads/none"):
        client.import_labels(task_id, "key:uploads/none")


def test_labels_for_who_wants_none_are_refused_and_removed(gateway, client, yolo):
    task_id = gateway.task("training", labels_path="labels")
    before = [file["key"] for file in client.files("uploads")]
    with pytest.raises(Conflict, match="nothing to label"):
        client.import_labels(task_id, yolo)
    assert [file["key"] for file in client.files("uploads")] == before


@pytest.mark.parametrize("format", ["yolo", "coco", "label-studio", "cvat"])
def test_what_is_taken_out_is_taken_in_again(gateway, client, yolo, tmp_path, format):
    task_id, again = gateway.labelling(), gateway.labelling()
    with pytest.raises(Conflict, match="No labels of the task"):
        client.export_labels(task_id, tmp_path / "early.zip", format)
    assert not (tmp_path / "early.zip").exists()
    gateway.run_step(client.import_labels(task_id, yolo), "import_labels")
    gateway.run_step(task_id, "labels")
    told: list[tuple[float, float]] = []
    path = client.export_labels(
        task_id,
        tmp_path / "out.zip",
        format,
        images=True,
        progress=lambda done, total, **_: told.append((done, total)),
    )
    assert path == tmp_path / "out.zip"
    assert told[-1] == (path.stat().st_size,) * 2
    with zipfile.ZipFile(path) as archive:
        assert {name for name in archive.namelist() if name.endswith(".png")} == {
            f"images/frame_{number:06}.png" for number in range(3)
        }
    bringing = client.import_labels(again, path)
    assert gateway.run_step(bringing, "import_labels") == "succeeded"
    assert client.status(bringing)["steps"][0]["facts"]["format"] == format
    first, second = (
        texts((project(gateway, client, one) / "labels").iterdir()) for one in (task_id, again)
    )
    assert first == second
    folder = client.export_labels(task_id, tmp_path / "new" / "folder", format)
    with zipfile.ZipFile(path) as archive:
        alone = {name for name in archive.namelist() if not name.endswith(".png")}
    inside = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert inside == alone


def test_labels_are_not_unpacked_over_what_is_there(gateway, client, yolo, tmp_path):
    task_id = gateway.labelling()
    gateway.run_step(client.import_labels(task_id, yolo), "import_labels")
    gateway.run_step(task_id, "labels")
    before = texts(yolo.glob("*.txt"))
    for place in (yolo, yolo / "classes.txt"):
        with pytest.raises(BadInput, match="is there already"):
            client.export_labels(task_id, place)
    assert texts(yolo.glob("*.txt")) == before
    (tmp_path / "empty.zip").mkdir()
    client.export_labels(task_id, tmp_path / "empty.zip")
    assert (tmp_path / "empty.zip" / "data.yaml").is_file()
    with pytest.raises(BadInput, match="sleap"):
        client.export_labels(task_id, tmp_path / "a.slp", "sleap-2")  # type: ignore[arg-type]


def test_an_export_that_is_cut_off_is_begun_again(gateway, yolo, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_WAITS", (0.0,) * 5)
    task_id = gateway.labelling()
    relay = Relay(gateway.port)
    relay.open()
    cut: list[float] = []

    def progress(done: float, total: float, **facts: Any) -> None:
        if not cut and done > 1_000_000:
            cut.append(done)
            relay.cut()

    try:
        with Client(f"http://127.0.0.1:{relay.port}", gateway.key("ada")) as client:
            gateway.run_step(client.import_labels(task_id, yolo), "import_labels")
            gateway.run_step(task_id, "labels")
            # More than what is in the sockets' buffers when they are cut.
            frames = gateway.settings.layout.user_file("ada", work(gateway, task_id)["folder_path"])
            with (frames / "frame_000000.png").open("ab") as image:
                image.write(os.urandom(20_000_000))
            path = client.export_labels(task_id, tmp_path / "a.zip", images=True, progress=progress)
    finally:
        relay.close()
    assert cut
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert [one.name for one in tmp_path.glob("*.zip")] == ["a.zip"]


def test_a_task_goes_on_with_what_is_labelled(gateway, client, yolo):
    task_id = gateway.labelling()
    bringing = client.import_labels(task_id, yolo)
    client.finish_labeling(task_id)
    assert gateway.run_step(task_id, "labels") == "waiting"
    assert "label 3 frames at least" in client.labeling(task_id)["error"]
    gateway.run_step(bringing, "import_labels")
    assert gateway.run_step(task_id, "labels") == "succeeded"
    labeling = client.labeling(task_id)
    assert (labeling["state"], labeling["labelled"], labeling["total"]) == ("succeeded", 3, 4)
    with pytest.raises(Conflict, match="open its labelling again"):
        client.finish_labeling(task_id)


def test_a_project_that_is_gone_is_put_up_again(gateway, client, yolo):
    task_id = gateway.labelling()
    gateway.run_step(client.import_labels(task_id, yolo), "import_labels")
    gateway.run_step(task_id, "labels")
    folder = project(gateway, client, task_id)
    before = texts((folder / "labels").iterdir())
    shutil.rmtree(folder)
    assert gateway.run_step(task_id, "labels") == "waiting"
    assert f"actverse labels restore {task_id}" in client.labeling(task_id)["error"]
    assert client.restore_labeling(task_id)["error"] == ""
    assert gateway.run_step(task_id, "labeling") == "succeeded"
    assert texts((folder / "labels").iterdir()) == before


def test_the_same_frames_are_labelled_again(gateway, client, yolo):
    task_id = gateway.labelling(training={"epochs": 9, "imgsz": 128, "batch": 2})
    with pytest.raises(Conflict, match="Round 1 of it"):
        client.next_round(task_id)
    gateway.run_step(client.import_labels(task_id, yolo), "import_labels")
    gateway.run_step(task_id, "labels")
    client.finish_labeling(task_id)
    gateway.run_step(task_id, "labels")
    with pytest.raises(NotFound, match="analysed nothing"):
        client.next_round(task_id)
    again = client.next_round(task_id, reopen=True, idempotency_key="again")
    assert client.next_round(task_id, reopen=True, idempotency_key="again") == again
    assert work(gateway, again)["reopens"] == task_id
    labeling = client.labeling(again)
    assert labeling["round"] == 2
    assert [(one["round"], one["task_id"], one["reopens"]) for one in labeling["rounds"]] == [
        *((1, task_id, ""), (2, again, task_id))
    ]


def test_more_frames_are_labelled_with_the_settings_of_before(gateway, client):
    training = {"epochs": 9, "imgsz": 128, "batch": 2}
    task_id = gateway.task("loop", names=["mouse"], num_frames=20, training=training)
    spec = LabelSpec(task="detect", names=("mouse",)).model_dump(mode="json")
    succeed(gateway.sessions, task_id, {"labels": {"spec": spec}})
    second = client.next_round(
        task_id,
        frames=5,
        strategy="diverse",
        min_seconds_apart=2,
        training={"epochs": 3},
    )
    sent = work(gateway, second)
    assert (sent["num_frames"], sent["strategy"], sent["min_seconds_apart"]) == (5, "diverse", 2)
    settings = {name: sent["training"][name] for name in training}
    assert settings == {**training, "epochs": 3}
    with pytest.raises(Conflict, match="Round 2"):
        client.next_round(task_id)
    with pytest.raises(BadInput, match="strategy"):
        client.next_round(task_id, strategy="best")  # type: ignore[arg-type]


def test_a_task_takes_labels_of_any_tool(gateway, client, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"video")
    folder = tmp_path / "exported" / "annotations"
    folder.mkdir(parents=True)
    file = coco(folder / "instances.json", "a", "b")
    make_images(tmp_path / "exported" / "images", "a.png", "b.png")
    (tmp_path / "exported" / "holiday.mov").write_bytes(b"not for anybody")
    (tmp_path / "exported" / "__MACOSX").mkdir()
    (tmp_path / "exported" / "__MACOSX" / "x.json").write_text("{}")
    options = {"strategy": "motion", "min_seconds_apart": 1.5, "seed": 3}
    task_id = client.create_task(
        tmp_path / "clip.mp4", tmp_path / "exported", labeling_tool="folder", **options
    )
    sent = work(gateway, task_id)
    assert uploaded(gateway, sent["labels_path"]) == {
        "annotations/instances.json",
        "images/a.png",
        "images/b.png",
    }
    assert {**options, "labeling_tool": "folder"}.items() <= sent.items()
    # Beside YOLO's text, which counts first, its format has to be said.
    (tmp_path / "exported" / "labels").mkdir()
    (tmp_path / "exported" / "labels" / "a.txt").write_text(BOX)
    asked = {"labels": tmp_path / "exported", "video": tmp_path / "clip.mp4"}
    told = work(gateway, client.create_task(**asked, labels_format="coco"))
    assert "annotations/instances.json" in uploaded(gateway, told["labels_path"])
    assert told["labels_format"] == "coco"
    guessed = work(gateway, client.create_task(**asked))
    assert uploaded(gateway, guessed["labels_path"]) == {
        *("images/a.png", "images/b.png", "labels/a.txt")
    }
    sent = work(gateway, client.create_task(tmp_path / "clip.mp4", file))
    assert sent["labels_path"].endswith("/labels/instances.json")
    with zipfile.ZipFile(tmp_path / "all.ZIP", "w") as archive:
        archive.write(file, "x/instances.json")
    sent = work(gateway, client.create_task(tmp_path / "clip.mp4", tmp_path / "all.ZIP"))
    assert sent["labels_path"].endswith("/labels/all.ZIP")
    with pytest.raises(BadLabels, match="no label folder"):
        client.train(file)


def test_an_administrator_labels_for_a_user(gateway, yolo):
    task_id = gateway.labelling("yve")
    with Client(gateway.url, gateway.key("grace", "admin"), user_id="yve") as client:
        bringing = client.import_labels(task_id, yolo)
        assert client.status(bringing)["user_id"] == "yve"
        assert gateway.run_step(bringing, "import_labels") == "succeeded"
        gateway.run_step(task_id, "labels")
        client.finish_labeling(task_id)
        gateway.run_step(task_id, "labels")
        again = client.next_round(task_id, reopen=True)
        assert client.status(again)["user_id"] == "yve"
