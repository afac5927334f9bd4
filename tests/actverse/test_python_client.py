"""The Python client at a real gateway: each method once, and what it is told when it fails."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import actverse
from actverse import answers
from actverse.client import Client
from components.errors import (
    BadInput,
    BadLabels,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    Unauthorized,
)
from gateway.app import create_app
from gateway.tasks import read_task
from tests.helpers.tasks import succeed

TRAINED = {
    "training": {
        "pipeline": {
            name: {"state": "succeeded", "facts": {"model": "ada-detect", "version": 1}}
            for name in ("register", "deploy")
        }
    }
}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a clip #1.mp4"
    path.write_bytes(bytes(range(256)) * 5000)
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "mice"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in ("ä", "b"):
        (folder / "images" / f"{name}.jpg").write_bytes(b"jpg")
        (folder / "labels" / f"{name}.txt").write_text("0 .5 .5 .1 .1\n")
    (folder / "classes.txt").write_text("mouse\n")
    (folder / "holiday.mov").write_bytes(b"not for anybody")
    return folder


def stored(gateway, user: str = "ada") -> dict[str, bytes]:
    """A user's files, by key."""
    home = gateway.settings.layout.root / "users" / user
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file()
    }


def work(gateway, task_id: str) -> dict[str, Any]:
    with gateway.sessions() as session:
        return dict(read_task(session, task_id).request)


def test_a_task_of_local_files_is_posted_with_all_that_it_reads(gateway, client, video, labels):
    told: dict[str, tuple[float, float]] = {}
    before = stored(gateway)

    def progress(done: float, total: float, **facts: Any) -> None:
        told[facts["what"]] = (done, total)

    weights = labels / "own.pt"
    weights.write_bytes(b"pt")
    task_id = client.create_task(
        video,
        str(labels),
        weights=weights,
        progress=progress,
        names=["mouse"],
        model_name="ada-mice",
        training={"epochs": 3},
        confidence=0.5,
    )
    sent = work(gateway, task_id)
    files = stored(gateway).items() - before.items()
    of_labels = {
        key.removeprefix(sent["labels_path"]): content
        for key, content in files
        if key.startswith(sent["labels_path"])
    }
    assert of_labels == {
        "/images/ä.jpg": b"jpg",
        "/images/b.jpg": b"jpg",
        "/labels/ä.txt": b"0 .5 .5 .1 .1\n",
        "/labels/b.txt": b"0 .5 .5 .1 .1\n",
        "/classes.txt": b"mouse\n",
    }
    assert dict(files)[sent["file_path"]] == video.read_bytes()
    assert sent["training"]["epochs"] == 3
    assert dict(files)[sent["training"]["weights"].removeprefix("key:")] == b"pt"
    assert (sent["names"], sent["model_name"], sent["confidence"]) == (["mouse"], "ada-mice", 0.5)
    size = video.stat().st_size
    assert told["video"] == (size, size)
    assert told["weights"] == (2, 2)
    assert told["labels"] == (sum(map(len, of_labels.values())),) * 2


def test_a_url_and_keys_are_passed_on_as_they_are(gateway, client):
    before = stored(gateway)
    task_id = client.create_task(
        "https://example.org/a.mp4", "key:labels/mice", weights="key:w/a.pt"
    )
    sent = work(gateway, task_id)
    assert sent["file_path"] == "https://example.org/a.mp4"
    assert sent["labels_path"] == "labels/mice"
    assert sent["training"]["weights"] == "key:w/a.pt"
    assert work(gateway, client.create_task("key:clips/a.mp4"))["file_path"] == "clips/a.mp4"
    assert stored(gateway) == before


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"video": "none.mp4"}, BadInput, "no file at none.mp4"),
        ({"labels": "none"}, BadLabels, "no labels at none"),
        ({"labels": "."}, BadLabels, "holds no label file"),
        ({"labels": "notes.txt"}, BadLabels, "notes.txt is of no label format"),
        ({"strategy": "best"}, BadInput, "strategy"),
        ({"min_seconds_apart": -1}, BadInput, "min_seconds_apart"),
        ({"training": {"epochs": 0}}, BadInput, "training.epochs"),
        ({"task": "segment"}, BadInput, "task"),
        ({"weights": "resnet"}, BadInput, "weights"),
    ],
)
def test_what_will_be_refused_is_not_sent(
    gateway, client, video, tmp_path, monkeypatch, change, kind, sentence
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("Two mice.")
    if change.get("labels") == "notes.txt":
        change = {"labels": tmp_path / "notes.txt"}
    before = stored(gateway), list(client.tasks())
    with pytest.raises(kind, match=sentence):
        client.create_task(**{"video": video, **change})
    assert (stored(gateway), list(client.tasks())) == before


def test_what_was_uploaded_for_a_refused_request_is_removed(gateway, client, video):
    before = stored(gateway)
    with pytest.raises(NotFound, match="deployed no model"):
        client.infer(gateway.task(), video)
    with pytest.raises(BadInput, match="confidence"):
        client.infer(gateway.task(), video, confidence=2)
    assert stored(gateway) == before


def test_the_same_idempotency_key_makes_no_second_task(gateway, client, video):
    first = client.create_task(video, idempotency_key="one", names=["mouse"])
    assert client.create_task(video, idempotency_key="one", names=["mouse"]) == first
    with pytest.raises(Conflict, match="another body"):
        client.create_task(video, idempotency_key="one", names=["rat"])
    # The first task may not have read it yet.
    assert stored(gateway)[work(gateway, first)["file_path"]] == video.read_bytes()
    assert client.create_task(video, names=["mouse"]) != first


def test_status_is_flat_and_tasks_are_listed_over_pages(gateway, monkeypatch):
    monkeypatch.setattr("actverse.rest._PAGE", 2)
    with gateway.client("pia") as client:
        ids = [gateway.task(user="pia") for _ in range(5)]
        succeed(gateway.sessions, ids[0])
        assert [task["task_id"] for task in client.tasks()] == ids[::-1]
        assert [task["task_id"] for task in client.tasks("succeeded", "failed")] == ids[:1]
        status = client.status(ids[0])
    assert (status["state"], status["kind"], status["user_id"]) == ("succeeded", "upload", "pia")
    assert [step["name"] for step in status["steps"]] == ["download", "deliver_video"]


def test_cancelling_says_what_is_kept(gateway, client, act):
    task_id = gateway.task()
    act(task_id, "download", end={"file": "source.mp4", "bytes": 3})
    folder = gateway.settings.layout.video(task_id)
    folder.mkdir(parents=True)
    (folder / "source.mp4").write_bytes(b"abc")
    ended = client.cancel(task_id)
    assert ended["state"] == "cancelled"
    assert (ended["finished_steps"], ended["cancelled_steps"]) == (["download"], ["deliver_video"])
    kept = [{"folder": f"videos/{task_id}", "own": False, "files": 1, "bytes": 3}]
    assert ended["kept"] == kept
    assert client.cancel(task_id)["cancelled_steps"] == ["deliver_video"]


def test_own_files_are_uploaded_listed_fetched_and_deleted(gateway, tmp_path, monkeypatch):
    monkeypatch.setattr("actverse.rest._PAGE", 2)
    folder = tmp_path / "many"
    (folder / "in ner").mkdir(parents=True)
    content = {f"in ner/{n} %2F#?é.bin": bytes([n]) * n * 1000 for n in range(7)}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / ".hidden").write_bytes(b"x")
    with gateway.client("olga") as client:
        assert client.upload_folder(folder, "my/many/") == "my/many"
        assert client.upload_file(folder / "in ner/3 %2F#?é.bin", "my/one.bin") == "my/one.bin"
        keys = {file["key"]: file["bytes"] for file in client.files()}
        assert keys == {f"my/many/{name}": len(data) for name, data in content.items()} | {
            "my/one.bin": 3000
        }
        assert [file["key"] for file in client.files("my/one")] == []
        paths = client.download_folder("my/many", tmp_path / "back")
        assert {path.relative_to(tmp_path / "back").as_posix() for path in paths} == set(content)
        assert all((tmp_path / "back" / name).read_bytes() == content[name] for name in content)
        with pytest.raises(NotFound, match="'my/man'"):
            client.download_folder("my/man", tmp_path / "back")
        assert client.delete_file("my/many") == 7
        assert [file["key"] for file in client.files()] == ["my/one.bin"]
        with pytest.raises(NotFound, match="my/many"):
            client.delete_file("my/many")


@pytest.mark.parametrize("key", ["../keys/", "a/../../b", "", "/etc/passwd", "a\nb"])
def test_a_key_that_leads_elsewhere_is_not_asked_for(client, tmp_path, key):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(Refused):
        client.upload_file(tmp_path / "a", key)
    with pytest.raises(Refused):
        client.delete_file(key)


@pytest.mark.parametrize("task_id", ["..", "a/b", "", "t-1?x=y"])
def test_a_task_id_that_is_none_is_not_asked_for(client, task_id):
    for ask in (client.status, client.cancel, client.results, client.labeling, client.training):
        with pytest.raises(BadInput, match="task id"):
            ask(task_id)
    with pytest.raises(BadInput, match="task id"):
        next(client.watch(task_id))


def test_single_pieces_of_the_way(gateway, client, video, labels):
    client.upload_file(video, "clips/a.mp4")
    task_id = client.video_download(video, "checked/a.mp4")
    sent = work(gateway, task_id)
    assert sent["download_path"] == "checked/a.mp4"
    assert stored(gateway)[sent["file_path"]] == video.read_bytes()
    sent = work(gateway, client.video_upload("key:clips/a.mp4", "elsewhere/a.mp4"))
    assert (sent["file_path"], sent["upload_path"]) == ("clips/a.mp4", "elsewhere/a.mp4")
    extracted = client.extract_frames("key:clips/a.mp4", 7, idempotency_key="seven")
    assert work(gateway, extracted)["num_frames"] == 7
    chosen = client.extract_frames("key:clips/a.mp4", strategy="motion", min_seconds_apart=2)
    assert (work(gateway, chosen)["strategy"], work(gateway, chosen)["min_seconds_apart"]) == (
        *("motion", 2),
    )
    assert client.extract_frames("key:clips/a.mp4", 7, idempotency_key="seven") == extracted
    with pytest.raises(BadInput, match="has succeeded"):
        client.request_labels(extracted, labels / "images")
    succeed(gateway.sessions, extracted)
    named = {"names": ["mouse"], "labeling_tool": "folder"}
    assert client.request_labels(extracted, labels / "images", **named) == extracted
    assert named.items() <= work(gateway, extracted).items()
    labeling = client.labeling(extracted)
    assert (labeling["labelled"], labeling["state"], labeling["project"]) == (0, "pending", "")
    with pytest.raises(BadInput, match="once"):
        client.request_labels(extracted, "key:clips")


def test_training_deployment_and_inference(gateway, client, video, labels, tmp_path):
    task_id = client.train(labels, training={"epochs": 4}, names=["mouse"], model_name="ada-t")
    sent = work(gateway, task_id)
    assert stored(gateway)[f"{sent['labels_path']}/classes.txt"] == b"mouse\n"
    assert (sent["training"]["epochs"], sent["model_name"]) == (4, "ada-t")
    training = client.training(task_id)
    assert (training["state"], training["current_epoch"]) == ("pending", 0)
    with pytest.raises(NotFound, match="trained nothing"):
        client.deploy(task_id)
    succeed(gateway.sessions, task_id, TRAINED)
    deployment = client.deploy(task_id)
    assert work(gateway, deployment)["model_version"] == 1
    (tmp_path / "own.onnx").write_bytes(b"onnx")
    own = client.deploy(task_id, tmp_path / "own.onnx")
    assert stored(gateway)[work(gateway, own)["model_path"]] == b"onnx"
    analysis = client.infer(task_id, video, confidence=0.3, frame_skip=2)
    sent = work(gateway, analysis)
    assert (sent["confidence"], sent["frame_skip"]) == (0.3, 2)
    assert stored(gateway)[sent["file_path"]] == video.read_bytes()


def test_a_model_is_imported_with_a_few_of_many_images(gateway, client, tmp_path):
    model, images = tmp_path / "mice.pt", tmp_path / "frames"
    model.write_bytes(b"pt")
    images.mkdir()
    for number in range(100):
        (images / f"{number:03d}.jpg").write_bytes(b"jpg")
    (images / "notes.txt").write_text("not an image")
    before = stored(gateway)
    sent = work(gateway, client.import_model(model, "ada-mice", images, imgsz=320))
    sent_images = sorted(Path(key).name for key in stored(gateway).keys() - before.keys())
    assert sent_images[:2] == ["000.jpg", "002.jpg"]
    assert len(sent_images) == 49
    assert stored(gateway)[sent["model_path"]] == b"pt"
    assert sent["images_path"].endswith("/frames")
    assert (sent["model_name"], sent["imgsz"]) == ("ada-mice", 320)
    (tmp_path / "clip.mp4").write_bytes(b"mp4")
    sent = work(gateway, client.import_model(model, "ada-mice", tmp_path / "clip.mp4"))
    assert stored(gateway)[sent["images_path"]] == b"mp4"
    again = client.import_model(
        f"key:{sent['model_path']}", "ada-mice", f"key:{sent['images_path']}"
    )
    assert work(gateway, again) == sent
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("not an image")
    for place, sentence in (("none", "holds no image"), ("gone", "no file")):
        with pytest.raises(BadInput, match=sentence):
            client.import_model(model, "ada-mice", tmp_path / place)
    with pytest.raises(Forbidden, match="administrator"):
        client.import_model(model, "global", images)


def test_keys_are_made_used_listed_and_revoked(gateway, admin):
    made = admin.create_key("kim", label="lab laptop")
    assert (made["user_id"], made["role"], made["label"]) == ("kim", "user", "lab laptop")
    with Client(gateway.url, f" {made['key']}\n") as kim:
        assert [one["id"] for one in list(kim.keys())] == [made["id"]]
        assert "key" not in next(kim.keys())
        with pytest.raises(Forbidden, match="admin"):
            kim.create_key("kim", "admin")
    assert admin.revoke_key(made["id"])["revoked"]
    assert made["id"] in [one["id"] for one in list(admin.keys())]


def test_rules_of_who_hears_of_what(gateway):
    client = gateway.client("rosa")
    url = "json://user:secret@hooks.example.org/x"
    rule = client.create_notification(url, ["STEP_FAILED"])
    assert rule["events"] == ["STEP_FAILED"]
    assert "secret" not in str(rule)
    assert [one["id"] for one in client.notifications()] == [rule["id"]]
    assert "hooks.example.org" in client.test_notification(rule["id"])
    assert client.delete_notification(rule["id"])["id"] == rule["id"]
    assert list(client.notifications()) == []
    with pytest.raises(BadInput, match="events"):
        client.create_notification(url, ["NO_SUCH_EVENT"])


def test_an_administrator_acts_for_a_user(gateway, video):
    with Client(gateway.url, gateway.key("grace", "admin"), user_id="zoe") as client:
        assert client.upload_file(video, "my/a.mp4") == "my/a.mp4"
        assert stored(gateway, "zoe")["my/a.mp4"] == video.read_bytes()
        assert [file["key"] for file in client.files()] == ["my/a.mp4"]
        (path,) = client.download_folder("my", video.parent / "back")
        assert path.read_bytes() == video.read_bytes()
        task_id = client.create_task(video)
        assert client.status(task_id)["user_id"] == "zoe"
        assert client.delete_file("my") == 1


def test_what_is_missing_is_said(gateway, client):
    parts = client.ready()
    assert parts["database"] == "ok"
    assert "start it" in parts["watcher"]


def test_a_key_that_is_none_is_unauthorized_and_never_repeated(gateway):
    key = "av_nobodys-secret-key"
    with Client(gateway.url, key) as client:
        with pytest.raises(Unauthorized) as told:
            client.status("t-1")
        assert key not in f"{told.value!r} {client!r}"
    for text in ("", "av_ä", "av_\nx"):
        with pytest.raises(BadInput) as told:
            Client(gateway.url, text)
        assert not text or text not in str(told.value)


@pytest.mark.parametrize("address", ["localhost:80", "ftp://a", "http://", "http://[::1", ""])
def test_an_address_that_is_none_is_refused(address: str):
    with pytest.raises(BadInput, match="address"):
        Client(address, "av_x")


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(BadInput) as told:
        Client("https://me:secret@example.org", "av_x")
    assert "secret" not in str(told.value)


def test_the_package_gives_the_client_and_nothing_that_is_not_there():
    assert actverse.Client is Client
    with pytest.raises(AttributeError, match="Server"):
        _ = actverse.Server


def test_answers_are_described_as_the_gateway_gives_them(gateway):
    schemas = create_app(gateway.settings).openapi()["components"]["schemas"]
    names = {
        **{"Step": "StepStatus", "TaskSummary": "TaskSummary", "Cancelled": "Cancelled"},
        **{"KeptFolder": "KeptFolder", "ResultFile": "ResultFile", "OwnFile": "OwnFile"},
        **{"Labeling": "LabelingStatus", "Training": "TrainingStatus", "Model": "DeployedModel"},
        **{"Key": "KeyInfo", "NewKey": "KeyCreated", "Rule": "Rule", "Round": "Round"},
        "PipelineRun": "PipelineRunStatus",
    }
    for ours, theirs in names.items():
        assert set(get_type_hints(getattr(answers, ours))) == set(schemas[theirs]["properties"])
    status = {**schemas["TaskStatus"]["properties"], **schemas["ProcessStatus"]["properties"]}
    assert set(get_type_hints(answers.Status)) == set(status) - {"process_status"}
    results = set(schemas["ResultList"]["properties"]) - {"after", "next"}
    assert set(get_type_hints(answers.Results)) == results


def test_a_client_is_shared_between_threads(client, video):
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: client.create_task(video), range(8)))
    assert len(set(ids)) == 8
