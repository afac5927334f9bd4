"""actverse pipeline: at a Kubeflow Pipelines that keeps to its contract, and on this machine."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from actverse.cli import main
from actverse.run_watch import followed, run_table
from components.errors import Unavailable
from components.settings import Settings
from pipelines.backend import RunState, RunStatus, TaskStatus
from pipelines.backends import open_backend
from tests.helpers.kfp_server import KfpServer, kfp_server
from tests.helpers.servers import free_ports, wait_until
from tests.helpers.tiny_pipeline import compile_tiny

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
TRAINING = ("training", "--task", "t-1", "--model", "mice", "--names", "mouse, rat")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    with kfp_server() as server:
        monkeypatch.setenv("ACTVERSE_KFP_ENDPOINT", server.url)
        monkeypatch.setenv("ACTVERSE_KFP_POLL_SECONDS", "0.02")
        yield server


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``actverse pipeline``: its exit code, what it printed, and what it said beside."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["actverse", "pipeline", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


def test_both_pipelines_are_compiled_with_the_tag_that_is_given(run: Run, tmp_path: Path):
    code, out, _ = run(
        "compile", "--image-tag", "1.2.3", "--image-repository", "r/x", "-o", str(tmp_path)
    )
    assert code == 0
    paths = [Path(line) for line in out.splitlines()]
    assert [path.name for path in paths] == ["actverse-training.yaml", "actverse-analysis.yaml"]
    for path in paths:
        spec = next(yaml.safe_load_all(path.read_text()))
        images = {e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()}
        assert images <= {"r/x/light:1.2.3", "r/x/trainer:1.2.3"}
    code, out, _ = run("compile", "analysis", "-o", str(tmp_path / "a.yaml"))
    assert (code, out.strip()) == (0, str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compile", "--image-tag", "latest"), "image tag 'latest'"),
        (("compile", "all", "-o", "one.yaml"), "Several pipelines are not one file one.yaml"),
        (("submit", "training"), "task_id is missing; model_name is missing; labels is missing"),
        (("submit", *TRAINING, "--argument", "held_out=2"), "held_out (2): Input should be less"),
        (("submit", *TRAINING, "--argument", "held_out=much"), "held_out is 'much', which is no"),
        (("submit", *TRAINING, "--argument", "colour=red"), "colour is unknown"),
        (("submit", *TRAINING, "--argument", "colour"), "'colour' has no value: write NAME=VALUE"),
        (("submit", *TRAINING, "--argument", "labels=@no-such"), "file no-such cannot be read"),
        (("submit", *TRAINING, "--video", "x"), "--video belongs to analysis"),
        (("submit", "analysis", "--model", "m", "--epochs", "3"), "--epochs belongs to training"),
        (("submit", "analysis", "--model", "m"), "videos is missing"),
        (("submit", *TRAINING), "No stack runs in"),
        (("status", "training-t-9"), "There is no run training-t-9"),
        (("logs", "training-t-9"), "There is no run training-t-9"),
        (("cancel", "../x"), "cannot be used"),
    ],
)
def test_what_cannot_be_used_ends_with_a_sentence(run: Run, arguments, sentence, monkeypatch):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("actverse: ")
    assert sentence in err


def test_a_training_is_submitted_and_looked_at(run: Run, server: KfpServer, tmp_path: Path):
    settings = tmp_path / "training.json"
    settings.write_text('{"epochs": 7, "imgsz": 64}')
    code, out, err = run("submit", *TRAINING, "--argument", f"training=@{settings}")
    (served,) = server.named("training-t-1")
    run_id = served.fields["run_id"]
    assert (code, out) == (0, f"{run_id}\n")
    assert f"actverse pipeline status {run_id} --watch" in err
    given = served.fields["runtime_config"]["parameters"]
    assert json.loads(given["labels"]) == {"task": "detect", "names": ["mouse", "rat"]}
    assert json.loads(given["training"]) == {"epochs": 7, "imgsz": 64}
    # Again, it is the same.
    _, out, err = run("submit", *TRAINING)
    assert out == f"{run_id}\n"
    assert "training-t-1 is there already: pending. To have another one, name it by" in err
    assert run("submit", *TRAINING, "--run-name", "again")[1] != out
    del server.runs[server.named("again")[0].fields["run_id"]]

    served.become("RUNNING")
    served.task("dataset", "SUCCEEDED", log="12 frames\n\x1b[31mred\x1b[0m\n")
    served.task("train")
    code, out, _ = run("status", "training-t-1")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:5]] == [
        *("›", f"{server.url}/#/runs/details/{run_id}", "step", "Dataset", "Train"),
    ]
    content = json.loads(run("status", run_id, "--json")[1])
    assert (content["state"], content["tasks"][1]["name"]) == ("RUNNING", "train")
    assert "red" in run("logs", run_id, "--task", "Dataset")[1]
    assert "\x1b" not in run("logs", run_id)[1]
    code, _, err = run("logs", run_id, "--task", "gate")
    assert (code, "has begun no task gate" in err) == (1, True)
    assert "training-t-1" in run("list")[1]
    assert [r["run_id"] for r in json.loads(run("list", "--json")[1])] == [run_id]
    assert "The run training-t-1 is: canceled." in run("cancel", "training-t-1")[1]
    assert "had ended before: canceled" in run("cancel", run_id)[1]


def test_videos_are_analysed(run: Run, server: KfpServer):
    videos = ("--video", "https://lab.example/a.mp4", "--video", "key:users/ada/b.mp4")
    code, _, err = run(
        *("submit", "analysis", "--model", "mice", *videos, "--argument", "batch_size=4")
    )
    assert code == 0, err
    (served,) = server.runs.values()
    given = served.fields["runtime_config"]["parameters"]
    assert served.fields["display_name"] == f"analysis-{given['run_id']}"
    assert given["batch_size"] == 4
    sources = [video["source"] for video in given["videos"]]
    assert sources == ["https://lab.example/a.mp4", "users/ada/b.mp4"]


@pytest.mark.parametrize(
    ("states", "code", "sentence"),
    [
        (("SUCCEEDED",), 0, ""),
        (("FAILED",), 1, "actverse: The labels are of no use.\n"),
        (("CANCELING", "FAILED"), 1, "actverse: The run training-t-1 was canceled.\n"),
        (("CANCELED",), 1, "actverse: The run training-t-1 was canceled.\n"),
    ],
)
def test_watching_ends_when_the_run_has_ended(
    run: Run, server: KfpServer, states: tuple[str, ...], code: int, sentence: str
):
    run("submit", *TRAINING)
    (served,) = server.runs.values()

    def go_on() -> None:
        looks = len(server.calls("run_service_get_run"))
        served.become("RUNNING")
        served.task("dataset")
        wait_until(lambda: len(server.calls("run_service_get_run")) > looks + 3)
        server.faults["run_service_get_run"] = [503, 503]
        wait_until(lambda: not server.faults["run_service_get_run"])
        error = "components.errors.BadLabels: The labels are of no use.\n"
        failed = states == ("FAILED",)
        served.task("dataset", states[-1], log=error if failed else "")
        for state in states:
            served.become(state)

    thread = threading.Thread(target=go_on)
    thread.start()
    answer, out, err = run("status", "training-t-1", "--watch")
    thread.join()
    assert answer == code
    assert err.endswith(sentence)
    assert "cannot show the run" in err
    assert "It answers again." in err
    assert "› Dataset" in out
    end = "canceled" if "CANCELING" in states else states[-1].lower()
    assert f"training-t-1  {end}" in out.splitlines()[-1]


def test_a_run_that_is_deleted_while_it_is_watched_ends_the_watch(run: Run, server: KfpServer):
    run_id = run("submit", *TRAINING)[1].strip()

    def delete() -> None:
        looks = len(server.calls("run_service_get_run"))
        wait_until(lambda: len(server.calls("run_service_get_run")) > looks + 1)
        server.runs.clear()

    thread = threading.Thread(target=delete)
    thread.start()
    code, _, err = run("status", run_id, "--watch")
    thread.join()
    assert (code, f"There is no run {run_id}" in err) == (1, True)


def test_a_place_that_stays_away_ends_the_watch(tmp_path: Path):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    backend = open_backend(Settings(home=tmp_path, kfp_endpoint=url))
    told: list[str] = []
    with pytest.raises(Unavailable, match="does not answer"):
        list(followed(backend, "x", 0.01, told.append, patience=0.05))
    assert len(told) == 1


def test_a_run_on_this_machine_is_followed_to_its_end(
    run: Run, server: KfpServer, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.local_backend.compile_pipeline", compile_tiny)
    monkeypatch.setattr("pipelines.local_backend.check_arguments", lambda *_: None)
    # The tiny pipeline's own parameters, in the place of a training's.
    monkeypatch.setattr(
        "pipelines.local_backend.start_local", _with_arguments({"name": "ada", "gate": ""})
    )
    monkeypatch.setenv("ACTVERSE_MLFLOW_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("ACTVERSE_TRITON_URL", "127.0.0.1:9")
    code, out, err = run("submit", *TRAINING, "--local", "--watch")
    assert code == 0, err
    assert out.splitlines()[0] == "training-t-1"
    assert out.splitlines()[-1].startswith("✓ training-t-1  succeeded")
    assert "hello ada" in run("logs", "training-t-1", "--local", "--task", "greet")[1]
    assert server.runs == {}
    code, _, err = run("status", "training-t-1")
    assert (code, "There is no run" in err) == (1, True)
    # Its storage's key would be missing there.
    monkeypatch.setenv("ACTVERSE_ROOT", "s3://bucket")
    code, _, err = run("submit", *TRAINING, "--local")
    assert (code, "s3://bucket, whose key no run on this machine is given" in err) == (1, True)


def test_the_turns_of_a_loop_are_one_row():
    states = [RunState.SUCCEEDED, RunState.RUNNING, RunState.FAILED]
    tasks = tuple(
        TaskStatus("analyse", "Analyse", s, error="b.mp4 is broken." if s == "FAILED" else "")
        for s in states
    )
    console = Console(width=80)
    with console.capture() as shown:
        console.print(run_table(RunStatus("r", "r", "analysis", RunState.RUNNING, tasks=tasks)))
    rows = [line for line in shown.get().splitlines() if "Analyse" in line]
    assert len(rows) == 1
    assert "1 of 3, 1 failed: b.mp4 is broken." in rows[0]


def _with_arguments(arguments: dict[str, str]) -> Callable[..., object]:
    from pipelines.local import start_local

    def start(pipeline: Path, _: object, *rest: object, **options: object) -> object:
        return start_local(pipeline, arguments, *rest, **options)  # type: ignore[arg-type]

    return start
