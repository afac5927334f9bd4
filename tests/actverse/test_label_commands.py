"""The commands about labels at a real gateway."""

import json
import os
import re
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import select

from actverse.label_studio import label_studio_login
from actverse.stack import Addresses, api_key_path, state_path
from components.labels import LabelSpec
from gateway.models import Task
from gateway.tasks import read_task
from tests.actverse.conftest import Ended, Gateway
from tests.helpers.servers import wait_until
from tests.helpers.tasks import set_step, succeed

Run = Callable[..., Ended]


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    for number in range(2):
        (folder / f"frame_{number:06}.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    return folder


def brought(gateway: Gateway, run: Run, *arguments: str) -> Ended:
    """Run ``labels import`` with a worker beside it that does the import."""

    def imports() -> set[str]:
        with gateway.sessions() as session:
            return set(session.scalars(select(Task.id).where(Task.kind == "labels")))

    def work() -> None:
        wait_until(lambda: bool(imports() - before), 20, "the import's task")
        gateway.run_step((imports() - before).pop(), "import_labels")

    before = imports()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        ended = run("labels", "import", *arguments)
        working.result()
    return ended


def labelled(gateway: Gateway, run: Run, yolo: Path) -> str:
    """A task with labels that were looked at, and still waits."""
    task_id = gateway.labelling()
    assert brought(gateway, run, task_id, str(yolo)).returncode == 0
    gateway.run_step(task_id, "labels")
    return task_id


def test_labels_are_brought_and_counted(gateway, run, yolo, tmp_path):
    task_id = gateway.labelling()
    told = brought(gateway, run, task_id, str(yolo), "--format", "yolo")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == "2 images with 2 objects, from yolo\n"
    facts = json.loads(brought(gateway, run, task_id, str(yolo), "--json").stdout)
    assert (facts["task_id"], facts["images"]) == (task_id, 2)
    assert facts["import_task_id"] != task_id
    (yolo / "frame_000009.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    failed = brought(gateway, run, task_id, str(yolo))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("actverse: ")
    assert "frame_000009" in failed.stderr
    nothing = run("labels", "import", task_id, str(tmp_path / "gone"))
    assert (nothing.returncode, "no labels at" in nothing.stderr) == (1, True)


def test_labels_are_taken_out(gateway, run, yolo, tmp_path):
    task_id = labelled(gateway, run, yolo)
    out = tmp_path / "out.zip"
    told = run("labels", "export", task_id, "--format", "coco", "--out", str(out), "--images")
    assert (told.returncode, told.stdout, told.stderr) == (0, f"{out}\n", "")
    with zipfile.ZipFile(out) as archive:
        assert "images/frame_000000.png" in archive.namelist()
    told = run("labels", "export", task_id, "--out", str(tmp_path / "out"), "--json")
    assert json.loads(told.stdout) == {"path": str(tmp_path / "out")}
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2
    again = run("labels", "export", task_id, "--out", str(tmp_path / "out"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already" in again.stderr


def test_how_far_labels_are_is_told_with_or_without_the_word_status(gateway, run, yolo):
    task_id = labelled(gateway, run, yolo)
    told = run("labels", "status", task_id)
    assert told.returncode == 0, told.stderr
    assert "waiting  2 of 4 frames are labelled." in told.stdout
    assert re.search(rf"where +labeling/actverse-{task_id}", told.stdout)
    assert f"actverse labels send {task_id} FOLDER" in told.stderr
    assert run("labels", task_id) == told
    for arguments in (("labels", task_id, "--json"), ("labels", "--json", task_id)):
        assert json.loads(run(*arguments).stdout)["labelled"] == 2
    assert run("labels", "bogus").returncode == 2


def test_a_task_goes_on_and_is_opened_again(gateway, run, yolo):
    given = run("train", gateway.task("training", labels_path="labels"), "--now")
    assert (given.returncode, "nothing to label" in given.stderr) == (1, True)
    (yolo / "frame_000002.txt").touch()
    task_id = labelled(gateway, run, yolo)
    waits = run("train", task_id)
    assert (waits.returncode, "--now" in waits.stderr) == (2, True)
    told = run("train", task_id, "--now")
    assert "goes on as soon as they suffice" in told.stdout
    assert f"actverse status {task_id} --watch" in told.stderr
    gateway.run_step(task_id, "labels")
    more = run("labels", "next", task_id, "--frames", "3")
    assert (more.returncode, "analysed nothing" in more.stderr) == (1, True)
    opened = run("labels", "reopen", task_id)
    assert opened.returncode == 0, opened.stderr
    again = opened.stdout.strip()
    with gateway.sessions() as session:
        assert read_task(session, again).request["reopens"] == task_id
    rounds = run("labels", task_id).stdout
    assert re.search(rf"1 +{task_id} +succeeded +this one", rounds)
    assert re.search(rf"2 +{again} +queued +labels {task_id} again", rounds)


def test_a_round_is_asked_for_with_what_is_to_differ(gateway, run):
    task_id = gateway.task("loop", names=["mouse"], training={"epochs": 9, "imgsz": 128})
    spec = LabelSpec(task="detect", names=("mouse",)).model_dump(mode="json")
    succeed(gateway.sessions, task_id, {"labels": {"spec": spec}})
    options = ("--frames", "3", "--strategy", "uncertain", "--epochs", "2")
    told = run("labels", "next", task_id, *options)
    assert told.returncode == 0, told.stderr
    with gateway.sessions() as session:
        request = read_task(session, told.stdout.strip()).request
    assert (request["num_frames"], request["strategy"]) == (3, "uncertain")
    assert (request["training"]["epochs"], request["training"]["imgsz"]) == (2, 128)


def test_a_project_that_is_gone_is_restored(gateway, run):
    task_id = gateway.labelling()
    told = run("labels", "restore", task_id)
    assert told.returncode == 0, told.stderr
    assert "put up again" in told.stdout
    again = run("labels", "restore", task_id, "--json")
    assert (again.returncode, again.stdout) == (1, "")


def test_a_task_is_posted_with_how_its_frames_are_chosen(gateway, run, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"video")
    options = (
        *("--strategy", "diverse", "--min-seconds-apart", "1.5", "--seed", "7"),
        *("--labeling-tool", "folder", "--label-format", "coco"),
    )
    told = run("submit", str(tmp_path / "a.mp4"), *options)
    assert told.returncode == 0, told.stderr
    with gateway.sessions() as session:
        request = read_task(session, told.stdout.strip()).request
    assert (request["strategy"], request["min_seconds_apart"]) == ("diverse", 1.5)
    assert (request["seed"], request["training"]["seed"]) == (7, 7)
    assert (request["labeling_tool"], request["labels_format"]) == ("folder", "coco")


def test_frames_in_a_tool_are_labelled_there(gateway, run, tmp_path):
    task_id, url = gateway.labelling(), "http://127.0.0.1:9/projects/3/data"
    facts = {
        **{"tool": "label-studio", "project": "3", "url": url, "frames": 4},
        **{"preannotated_by": "global 2", "note": "Two \x1b[2J were left out."},
    }
    set_step(gateway.sessions, task_id, "labeling", facts=facts)
    told = run("labels", "status", task_id)
    assert re.search(rf"where +{url}", told.stdout)
    assert re.search(r"boxes by +global 2", told.stdout)
    assert "Two �[2J were left out." in told.stdout
    assert told.stderr == f"Label them at {url}\n"
    assert f"Label them at {url}" in run("status", task_id).stderr
    for command in ("fetch", "send"):
        refused = run("labels", command, task_id, str(tmp_path))
        assert (refused.returncode, url in refused.stderr) == (1, True)
    # Of a Label Studio that runs with the stack, it is known how to get in.
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    here = Addresses(gateway.url, "", "", "", os.getpid(), label_studio="http://127.0.0.1:9")
    state_path(home).write_text(json.dumps(asdict(here)))
    api_key_path(home).write_text(gateway.key("ada"))
    login = label_studio_login(home)
    local = {"ACTVERSE_HOME": str(home), "ACTVERSE_GATEWAY_URI": ""}
    hint = run("status", task_id, **local).stderr
    assert f"as {login.username}; the password is in {home}/secrets/" in hint
    assert login.password not in hint
    place = hint.rsplit(" ", 1)[1].strip()
    assert Path(place).read_text().strip() == login.password
    elsewhere = {**facts, "url": "http://127.0.0.1:99/projects/3/data"}
    set_step(gateway.sessions, task_id, "labeling", facts=elsewhere)
    assert login.username not in run("status", task_id, **local).stderr
