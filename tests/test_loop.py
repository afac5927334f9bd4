"""The whole loop through the running stack: video and labels in, served model and results out."""

import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from actverse.client import ENDED
from actverse.sample import SampleTruth, make_sample
from actverse.watch import Outcome
from components.dataset.facts import SPLIT
from components.dataset.held_out import held_out_stems
from components.detections import box_iou
from components.errors import Unavailable
from components.frame_results import FrameResult
from components.registry.tracking_app import USER
from components.serving.control import TritonControl
from components.video.extract import frame_index, uniform_indices
from gateway.flows import FLOWS
from gateway.flows import TRAINING as TRAINING_STEP
from pipelines import TRAINING_STEPS
from tests.helpers.pages import read_page
from tests.helpers.servers import wait_until

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

FRAMES, LABELLED = 180, 80
# One thread: beside other tests a second one is mostly waited for.
TRAINING = {"epochs": 16, "imgsz": 128, "batch": 4, "threads": 1}


@dataclass(frozen=True)
class Run:
    task_id: str
    outcome: Outcome
    truth: SampleTruth
    results: Path
    request: dict[str, Any]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, SampleTruth]:
    folder = tmp_path_factory.mktemp("clip")
    truth = make_sample(folder / "sample.mp4", frames=FRAMES, wh=(240, 180))
    truth.write_labels(folder / "labels", uniform_indices(FRAMES, LABELLED))
    return folder / "sample.mp4", folder / "labels", truth


@pytest.fixture(scope="module")
def run(stack, clip) -> Run:
    """One task from its video to its results."""
    video, labels, truth = clip
    request = {"names": list(truth.spec.names), "model_name": "shapes", "training": TRAINING}
    task_id = stack.submit(video, labels, **request)
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error
    results = stack.settings.layout.results(task_id)
    return Run(task_id, outcome, truth, results, request)


def test_every_step_succeeded_and_says_what_it_did(run: Run):
    names = [name for stage in FLOWS["loop"] for name in stage]
    at = names.index(TRAINING_STEP)
    names[at : at + 1] = TRAINING_STEPS
    assert {step["name"]: step["state"] for step in run.outcome.steps} == dict.fromkeys(
        names, "succeeded"
    )
    assert run.outcome.facts("extract")["frames"] == LABELLED
    assert run.outcome.facts("analyse")["frames"] == FRAMES
    assert run.outcome.facts("train")["metrics"]["mAP50"] > 0.5


def test_the_analysis_finds_what_was_drawn(run: Run):
    content = json.loads((run.results / "results.json").read_text())
    assert content["metadata"]["frame_count"] == FRAMES
    found = total = 0
    width, height = run.truth.wh
    for entry, labels in zip(content["results"], run.truth.frames, strict=True):
        frame = FrameResult.model_validate(entry)
        centre, size = labels.boxes_cxcywhn[:, :2], labels.boxes_cxcywhn[:, 2:]
        scale = np.asarray([width, height] * 2, np.float32)
        truth = np.hstack([centre - size / 2, centre + size / 2]) * scale
        boxes = np.asarray(frame.boxes, np.float32).reshape(-1, 4)
        total += len(truth)
        if len(boxes):
            found += int((box_iou(truth, boxes).max(axis=1) > 0.5).sum())
    assert found / total > 0.5


def test_the_results_are_whole(run: Run):
    names = {path.name for path in run.results.iterdir()}
    assert {
        "results.csv",
        "results.json",
        "chunks",
        "overlaid_results.mp4",
        "report.ipynb",
    } <= names
    with av.open(str(run.results / "overlaid_results.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_the_training_lies_where_the_layout_says(stack, run: Run):
    folder = stack.settings.layout.train_log(run.task_id)
    for name in ("model.pt", "data/data.yaml", "data/train_test_split.txt", "data/images"):
        assert (folder / name).exists(), name


def test_mlflow_has_every_epoch_and_the_served_version(stack, run: Run):
    client = MlflowClient(stack.addresses.mlflow)
    run_id = run.outcome.facts("train")["run_id"]
    logged = client.get_run(run_id)
    assert logged.info.status == "FINISHED"
    history = client.get_metric_history(run_id, "train/box_loss")
    assert [metric.step for metric in history] == sorted({metric.step for metric in history})
    assert len(history) == TRAINING["epochs"]
    version = client.get_model_version_by_alias("shapes", "champion")
    assert version.run_id == run_id
    assert version.tags["serving.state"] == "ready"
    assert version.tags["task_id"] == run.task_id


def test_the_pipeline_tells_its_story_in_its_artifacts(stack, run: Run):
    (work,) = stack.settings.home.glob(f"pipelines/runs/training-{run.task_id}*")
    (steps,) = (work / "artifacts").iterdir()
    run_id = run.outcome.facts("train")["run_id"]
    pages = {}
    for step, name in (
        *(("train", "curves"), ("train", "samples"), ("export", "parity")),
        ("gate", "comparison"),
    ):
        pages[name] = (steps / step / name).read_text(encoding="utf-8")
        address = re.search(r'href="(http[^"]+)"', pages[name])
        assert address, name
        read_page(pages[name], address[1])
    assert run_id in pages["curves"]
    for step, name in (("register", "summary"), ("deploy", "summary"), ("gate", "decision")):
        text = (steps / step / name).read_text(encoding="utf-8")
        assert f"{stack.addresses.mlflow}/#/models/shapes/versions/1" in text
    output = json.loads((steps / "train" / "executor_output.json").read_text())["artifacts"]
    told = {name: one["artifacts"][0]["metadata"] for name, one in output.items()}
    assert told["metrics"]["mAP50"] == run.outcome.facts("train")["metrics"]["mAP50"]
    rows = np.asarray([row["row"] for row in told["confusion"]["confusionMatrix"]["rows"]])
    assert rows[:-1].sum() == sum(run.outcome.facts("dataset")["objects"]["held_out"].values())
    assert np.trace(rows[:-1, :-1]) > rows.sum() / 2
    client = MlflowClient(stack.addresses.mlflow)
    kept = {entry.path for entry in client.list_artifacts(run_id, "pages")}
    assert kept == {f"pages/{name}.html" for name in ("training", "held_out", "parity")} | {
        "pages/parity.md"
    }


def test_the_model_went_live_because_the_webhook_said_so(stack, run: Run):
    from gateway.database import open_database
    from gateway.models import WebhookDelivery

    with open_database(stack.settings.database_url)() as session:
        deliveries = [d for d in session.query(WebhookDelivery) if d.data["name"] == "shapes"]
    assert deliveries[0].data["alias"] == "champion"
    assert deliveries[0].handled is not None
    assert deliveries[0].outcome.split()[0] in ("promoted", "unchanged")


def _served(stack, model: str) -> set[int]:
    with TritonControl(stack.settings.triton_url) as triton:
        return triton.ready_versions(model)


def _move_alias(stack, version: int) -> None:
    """What MLflow's UI does when a person moves the alias."""
    answer = httpx.post(
        f"{stack.addresses.mlflow}/api/2.0/mlflow/registered-models/alias",
        auth=(USER, stack.settings.mlflow_token.get_secret_value()),
        json={"name": "shapes", "alias": "champion", "version": str(version)},
    )
    assert answer.status_code == 200


def test_a_worse_model_is_not_served_until_a_person_says_so(stack, clip, run: Run):
    video, labels, _ = clip
    again = {**run.request, "training": {**TRAINING, "epochs": 2, "seed": 1}, "confidence": 0.01}
    task_id = stack.submit(video, labels, **again)
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error
    client = MlflowClient(stack.addresses.mlflow)
    first, second = 1, outcome.facts("register")["version"]
    assert second == 2

    # The version before it stays, the analysis uses it, and nobody is told of a deployment.
    gate, deploy = outcome.facts("gate"), outcome.facts("deploy")
    assert (gate["earned"], gate["champion_version"]) == (False, first)
    assert gate["candidate"]["mAP50-95"] < gate["champion"]["mAP50-95"]
    assert (deploy["version"], deploy["promoted"]) == (first, False)
    assert outcome.facts("analyse")["version"] == first
    tags = client.get_model_version("shapes", str(second)).tags
    assert tags["gate.earned"] == "false"
    assert tags["gate.reason"] == deploy["reason"]
    assert "serving.state" not in tags
    assert client.get_model_version_by_alias("shapes", "champion").version == str(first)
    assert max(_served(stack, "shapes")) == first
    told = {message.name for message in stack.client.watch(task_id)}
    assert "MODEL_TRAINING_COMPLETED" in told
    assert "MODEL_DEPLOYED" not in told

    state = lambda version: (  # noqa: E731
        client.get_model_version("shapes", str(version)).tags.get("serving.state")
    )
    for version in (second, first):
        _move_alias(stack, version)
        wait_until(lambda: max(_served(stack, "shapes"), default=0) == version, 60)  # noqa: B023
        wait_until(lambda: state(version) == "ready", 60)  # noqa: B023


def test_a_second_round_learns_from_both_and_is_held_against_the_champion(
    stack, run: Run, tmp_path: Path
):
    client, layout = stack.client, stack.settings.layout
    champion = int(
        MlflowClient(stack.addresses.mlflow)
        .get_model_version_by_alias("shapes", "champion")
        .version
    )
    task_id = client.next_round(run.task_id, frames=6, training={"epochs": 2})
    assert client.wait(task_id, until=("waiting", *ENDED))["state"] == "waiting"
    asked = {path.stem for path in layout.frames(task_id).glob("*.jpg")}
    known = {path.stem for path in layout.labels(run.task_id).glob("frame_*.txt")}
    assert (len(asked), len(known), asked & known) == (6, LABELLED, set())
    run.truth.write_labels(tmp_path, sorted(filter(None, map(frame_index, asked))))
    assert client.wait(client.import_labels(task_id, tmp_path))["state"] == "succeeded"
    wait_until(lambda: client.labeling(task_id)["labelled"] == 6, 60)
    client.finish_labeling(task_id)
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error

    # The labels of both, and what was held out stays held out, whatever is new.
    held_out = held_out_stems(layout.dataset(run.task_id))
    split = [
        line.split("\t") for line in (layout.dataset(task_id) / SPLIT).read_text().splitlines()
    ]
    assert {Path(name).stem for _, name in split} == asked | known
    assert asked & {Path(name).stem for part, name in split if part == "train"}
    assert held_out_stems(layout.dataset(task_id)) == held_out != ()
    assert outcome.facts("train")["start"] == f"models:/shapes/{champion}"
    # On the same frames the champion is as good as it was when it was trained.
    gate, before = outcome.facts("gate"), run.outcome.facts("gate")
    assert gate["champion_version"] == champion == before["version"]
    assert gate["champion"] == pytest.approx(before["candidate"])
    assert gate["candidate"].keys() == gate["champion"].keys()


def test_a_watcher_killed_in_a_training_costs_an_attempt_and_nothing_else(stack, clip, run: Run):
    video, labels, _ = clip
    training = {**TRAINING, "epochs": 3}
    task_id = stack.submit(video, labels, **{**run.request, "training": training})

    def step(name: str) -> dict[str, Any]:
        return next(s for s in stack.client.status(task_id)["steps"] if s["name"] == name)

    wait_until(lambda: step("train")["state"] == "running", 180)
    os.killpg(stack.stack.supervisor.pid("watcher"), signal.SIGKILL)
    outcome = stack.outcome(task_id)
    assert outcome.state == "succeeded", outcome.error
    assert step("train")["attempt"] == 2


def test_a_triton_that_dies_comes_back_with_its_models(stack, run: Run):
    supervisor = stack.stack.supervisor
    before = supervisor.pid("triton")
    served = _served(stack, "shapes")
    os.killpg(before, signal.SIGKILL)
    wait_until(lambda: supervisor.pid("triton") != before, 60)

    def back() -> bool:
        try:
            return _served(stack, "shapes") == served
        except Unavailable:
            return False

    wait_until(back, 180)
