"""The command line at a real gateway, as people and scripts use it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from actverse import admin_commands
from actverse.stack import Addresses, api_key_path, state_path
from components.settings import Settings
from gateway.keys import find_caller
from gateway.leases import claim_step, fail_step, release_step
from gateway.models import NotificationRule, now
from gateway.tasks import cancel_task, read_task
from tests.actverse.conftest import LEASE, Gateway, command_environment, new_gateway, worker
from tests.helpers.tasks import set_step, succeed

CODE = "from actverse.cli import main; main()"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-u", "-c", CODE, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def results(gateway: Gateway) -> str:
    """A task whose results are there."""
    task_id = gateway.task("inference")
    folder = gateway.settings.layout.results(task_id)
    (folder / "chunks").mkdir(parents=True)
    (folder / "chunks" / "result_chunk_0.json").write_bytes(b"{}")
    (folder / "results.csv").write_bytes(b"x" * 12_345)
    succeed(gateway.sessions, task_id)
    return task_id


def test_tasks_are_listed_for_people_and_for_programs(gateway, run):
    key = gateway.key("tess")
    none = run("tasks", ACTVERSE_API_KEY=key)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "There are no tasks.\n")
    ids = [gateway.task(user="tess") for _ in range(3)]
    with gateway.sessions.begin() as session:
        step = claim_step(session, ids[0], "download", "test", LEASE)
        assert step is not None
        fail_step(session, step.id, "test", "[/red] \x1b[2J is [bold]no video.", None)
    told = run("tasks", ACTVERSE_API_KEY=key)
    assert told.returncode == 0, told.stderr
    assert not CONTROL.search(told.stdout)
    lines = told.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["task", *ids[::-1]]
    assert lines[3].rstrip().endswith("tess  [/red] �[2J is [bold]no video.")
    listed = json.loads(run("tasks", "--json", ACTVERSE_API_KEY=key).stdout)
    assert [(task["task_id"], task["state"]) for task in listed] == [
        *((ids[2], "queued"), (ids[1], "queued"), (ids[0], "failed"))
    ]
    failed = run("tasks", "--state", "failed", "--state", "cancelled", ACTVERSE_API_KEY=key)
    assert [line.split()[0] for line in failed.stdout.splitlines()] == ["task", ids[0]]
    some = run("tasks", "--limit", "2", ACTVERSE_API_KEY=key)
    assert len(some.stdout.splitlines()) == 3
    assert "--all" in some.stderr
    every = run("tasks", "--limit", "2", "--all", ACTVERSE_API_KEY=key)
    assert len(every.stdout.splitlines()) == 4
    assert every.stderr == ""


def test_status_is_a_table_or_json(gateway, run, act):
    task_id = gateway.task()
    act(task_id, "download", 12_345_678, 45_600_000)
    told = run("status", task_id)
    assert told.returncode == 0, told.stderr
    assert f"{task_id}  upload  running" in told.stdout
    assert re.search(r"download +› +12\.3/45\.6 MB", told.stdout)
    assert re.search(r"deliver_video +·", told.stdout)
    assert json.loads(run("status", task_id, "--json").stdout)["steps"][0]["done"] == 12_345_678


def test_the_pipeline_run_of_a_training_is_told_with_its_page(gateway, run, act):
    task_id = gateway.task()
    act(task_id, "download", 1, 2)
    assert "run " not in run("status", task_id).stdout
    page = "https://kubeflow.example.org/pipeline/#/runs/details/" + "0" * 36
    found = {"backend": "kubeflow", "run_id": "r-1", "url": page, "state": "RUNNING", "note": ""}
    task_id = gateway.task(kind="training")
    set_step(gateway.sessions, task_id, "training", state="running", facts={"run": found})
    told = run("status", task_id)
    assert told.returncode == 0, told.stderr
    assert f"run r-1  running  {page}" in told.stdout.splitlines()


def test_a_task_is_followed_by_plain_lines_where_no_terminal_is(gateway, start, act):
    task_id = gateway.task()
    watching = start("status", task_id, "--watch")
    act(task_id, "download", 12_345_678, 45_600_000)
    assert watching.stdout is not None
    first = watching.stdout.readline()
    # Once it runs for two seconds, it is also told how much is left.
    assert re.fullmatch(r"› download    12\.3/45\.6 MB(  about .+ left)?\n", first)
    act(task_id, "download", end={"file": "source.mp4", "bytes": 45_600_000})
    second = watching.stdout.readline()
    assert re.fullmatch(r"✓ download +\d+\.\d s  45\.6 MB\n", second)
    act(task_id, "deliver_video", end={"path": "b.mp4", "bytes": 45_600_000})
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == 0, err
    assert not CONTROL.search(out + err)
    assert "✓ download" not in out
    lines = out.splitlines()
    assert re.fullmatch(r"✓ deliver_video +\d+\.\d s  b\.mp4, 45\.6 MB", lines[-1])
    assert f"actverse results {task_id}" in err


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_following_a_task_that_does_not_succeed_ends_with_1(gateway, start, how):
    task_id = gateway.task()
    with gateway.sessions.begin() as session:
        step = claim_step(session, task_id, "download", "test", LEASE)
        assert step is not None
        if how == "failed":
            fail_step(session, step.id, "test", "a.mp4 is [/empty].", None)
        else:
            cancel_task(session, read_task(session, task_id))
    watching = start("status", task_id, "--watch")
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == 1
    sentence = "a.mp4 is [/empty]." if how == "failed" else f"The task {task_id} was cancelled."
    assert err == f"actverse: {sentence}\n"
    assert ("✗ download" in out) == (how == "failed")


def test_following_as_json_is_one_line_a_message(gateway, start, act):
    task_id = gateway.task()
    watching = start("status", task_id, "--watch", "--json")
    act(task_id, "download", 1, 2)
    act(task_id, "download", end={"file": "source.mp4", "bytes": 2})
    act(task_id, "deliver_video", end={"path": "b.mp4", "bytes": 2})
    out, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")
    messages = [json.loads(line) for line in out.splitlines()]
    assert messages[-1]["event"] == "status"
    assert messages[-1]["data"]["state"] == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_the_task_running_and_says_so(gateway, start, act, number):
    task_id = gateway.task()
    act(task_id, "download", 1, 2)
    watching = start("status", task_id, "--watch")
    assert watching.stdout is not None
    assert "download" in watching.stdout.readline()
    watching.send_signal(number)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    told = f"The task goes on: actverse status {task_id} --watch --gateway {gateway.url}"
    assert err.strip() == told
    with gateway.sessions() as session:
        assert read_task(session, task_id).state == "running"


def test_a_gateway_that_goes_away_meanwhile_is_told_of_and_waited_for(own_gateway):
    task_id = own_gateway.task()
    act = worker(own_gateway)
    act(task_id, "download", 1, 2)
    watching = subprocess.Popen(
        [sys.executable, "-u", "-c", CODE, "status", task_id, "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(own_gateway.url, own_gateway.key("ada")),
    )
    try:
        assert watching.stdout is not None
        assert "download" in watching.stdout.readline()
        own_gateway.kill()
        assert "does not answer" in watching.stdout.readline()
        act(task_id, "download", end={"file": "source.mp4", "bytes": 2})
        act(task_id, "deliver_video", end={"path": "b.mp4", "bytes": 2})
        own_gateway.start()
        out, err = watching.communicate(timeout=60)
        assert watching.returncode == 0, err
        assert "The gateway is back." in out
        assert "✓ deliver_video" in out
    finally:
        watching.kill()
        watching.communicate()


def test_a_terminal_shows_bars_in_80_columns(gateway, environment, act):
    task_id = gateway.task()
    act(task_id, "download", 12_345_678, 45_600_000)
    near, far = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-c", CODE, "status", task_id, "--watch"],
        stdin=far,
        stdout=far,
        stderr=far,
        env={**environment, "TERM": "xterm", "COLUMNS": "80"},
        close_fds=True,
    )
    os.close(far)
    seen = ""

    def read_until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            assert select.select([near], [], [], 30)[0], seen
            try:
                seen += os.read(near, 65536).decode()
            except OSError:  # its other end is closed
                break
        assert text in seen

    try:
        read_until("12.3/45.6 MB")
        act(task_id, "download", end={"file": "source.mp4", "bytes": 45_600_000})
        act(task_id, "deliver_video", end={"path": "b.mp4", "bytes": 45_600_000})
        read_until(f"actverse results {task_id}")
        assert watching.wait(30) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(near)
    assert "27.0 %" in seen
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", seen).replace("\r", "\n").split("\n")
    assert max(map(len, rows)) <= 80
    assert "✓" in seen


def test_results_are_listed_and_downloaded(run, results, tmp_path):
    told = run("results", results)
    assert re.search(r"results\.csv +12\.3 kB", told.stdout), told.stderr
    assert json.loads(run("results", results, "--json").stdout)["complete"] is True
    out = tmp_path / "out"
    told = run("results", results, "--download", str(out))
    paths = [out / "chunks" / "result_chunk_0.json", out / "results.csv"]
    assert told.stdout.splitlines() == [str(path) for path in paths]
    assert (told.returncode, told.stderr) == (0, "")
    assert paths[1].stat().st_size == 12_345
    again = run("results", results, "--download", str(out), "--json")
    assert json.loads(again.stdout) == [str(path) for path in paths]


def test_cancelling_says_what_became_of_it(gateway, run, act):
    task_id = gateway.task()
    act(task_id, "download", end={"file": "source.mp4", "bytes": 3})
    told = run("cancel", task_id)
    assert told.returncode == 0, told.stderr
    assert f"{task_id} is cancelled; it had come through 1 of its steps." in told.stdout
    assert json.loads(run("cancel", task_id, "--json").stdout)["state"] == "cancelled"
    ended = gateway.task()
    succeed(gateway.sessions, ended)
    assert "had ended before: succeeded" in run("cancel", ended).stdout


def test_submitting_prints_the_id_alone_and_returns_at_once(gateway, run, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"video")
    options = ("--names", "mouse, rat", "--epochs", "3", "--frames", "7", "--confidence", "0.4")
    told = run("submit", str(tmp_path / "a.mp4"), *options)
    assert told.returncode == 0, told.stderr
    task_id = told.stdout.strip()
    assert re.fullmatch(r"t-[0-9a-f]{12}", task_id)
    assert f"actverse status {task_id} --watch --gateway {gateway.url}" in told.stderr
    with gateway.sessions() as session:
        request = read_task(session, task_id).request
    assert (request["names"], request["num_frames"]) == (["mouse", "rat"], 7)
    assert (request["training"]["epochs"], request["confidence"]) == (3, 0.4)


def test_run_at_another_gateway_follows_and_says_where_the_results_are(gateway, start, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"video")
    running = start("run", str(tmp_path / "a.mp4"), "--names", "mouse")
    assert running.stdout is not None
    task_id = running.stdout.readline().split()[1]
    succeed(gateway.sessions, task_id)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert f"actverse results {task_id} --download FOLDER --gateway {gateway.url}" in out
    assert "✓ results" in out


def test_frames_to_label_are_fetched_and_labels_sent(gateway, run, start, act, tmp_path):
    task_id = gateway.task("labeling", folder_path="frames/x", file_path="")
    project = f"labeling/actverse-{task_id}"
    images = gateway.settings.layout.user_file("ada", project) / "images"
    images.mkdir(parents=True)
    for number in range(3):
        (images / f"frame_{number:06}.jpg").write_bytes(b"jpg")
    act(task_id, "labeling", end={"tool": "folder", "project": project, "frames": 3})
    with gateway.sessions.begin() as session:
        step = claim_step(session, task_id, "labels", "test", LEASE)
        assert step is not None
        release_step(session, step.id, "test", 1, 3, LEASE)
    told = run("status", task_id)
    assert "1 of 3 frames are labelled." in told.stderr
    assert f"actverse labels fetch {task_id} FOLDER --gateway {gateway.url}" in told.stderr
    watching = start("status", task_id, "--watch")
    assert watching.stdout is not None
    while "labels send" not in (line := watching.stdout.readline()):
        assert line
    watching.kill()
    told = run("labels", "fetch", task_id, str(tmp_path / "out"))
    assert told.returncode == 0, told.stderr
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3
    (tmp_path / "out" / "labels").mkdir(exist_ok=True)
    for number, folder in enumerate((tmp_path / "out", tmp_path / "out" / "labels")):
        label = tmp_path / "out" / "labels" / f"frame_{number:06}.txt"
        label.write_text("0 .5 .5 .1 .1\n")
        (folder / "classes.txt").write_text(f"mouse {number}\n")
        assert run("labels", "send", task_id, str(folder)).returncode == 0
        assert (images.parent / "labels" / label.name).is_file()
        # Where the task's README asks for them.
        assert (images.parent / "classes.txt").read_text() == f"mouse {number}\n"
    assert json.loads(run("labels", task_id, "--json").stdout)["total"] == 3


def test_inference_prints_the_id_of_the_analysis(gateway, run, tmp_path):
    task_id = gateway.task("training", labels_path="labels")
    facts = {"deploy": {"state": "succeeded", "facts": {"model": "ada-detect", "version": 1}}}
    succeed(gateway.sessions, task_id, {"training": {"pipeline": facts}})
    (tmp_path / "b.mp4").write_bytes(b"video")
    told = run("infer", task_id, str(tmp_path / "b.mp4"), "--frame-skip", "2")
    assert told.returncode == 0, told.stderr
    with gateway.sessions() as session:
        task = read_task(session, told.stdout.strip())
        assert (task.kind, task.request["frame_skip"]) == ("inference", 2)


def test_keys_are_made_listed_and_revoked(gateway, run):
    root = gateway.key("grace", "admin")
    made = run("keys", "create", "kai", "--label", "lab", ACTVERSE_API_KEY=root)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key not in made.stderr
    mine = json.loads(run("keys", "list", "--json", ACTVERSE_API_KEY=key).stdout)
    assert [(one["user_id"], one["role"], one["label"]) for one in mine] == [("kai", "user", "lab")]
    listed = run("keys", "list", ACTVERSE_API_KEY=root)
    assert key not in listed.stdout
    assert mine[0]["prefix"] in listed.stdout
    denied = run("keys", "create", "kai", "--role", "admin", ACTVERSE_API_KEY=key)
    assert (denied.returncode, denied.stdout) == (1, "")
    assert "admin" in denied.stderr
    gone = run("keys", "revoke", str(mine[0]["id"]), ACTVERSE_API_KEY=root)
    assert f"Key {mine[0]['id']} of kai" in gone.stdout


def test_the_first_key_is_made_in_the_database_itself(tmp_path, run):
    home = tmp_path / "home"
    first = run("keys", "create", "grace", "--bootstrap", ACTVERSE_HOME=str(home))
    assert first.returncode == 0, first.stderr
    sessions = new_gateway(home).sessions
    secret = (home / "secrets" / "api_key_secret").read_text()
    again = run("keys", "create", "grace", "--bootstrap", ACTVERSE_HOME=str(home))
    assert (again.returncode, again.stdout) == (1, "")
    assert "an admin's key already" in again.stderr
    third = run("keys", "create", "grace", "--bootstrap", "--again", ACTVERSE_HOME=str(home))
    assert third.returncode == 0, third.stderr
    settings = Settings(home=home, api_key_secret=secret)
    with sessions() as session:
        for told in (first, third):
            caller = find_caller(session, settings, told.stdout.strip())
            assert caller is not None
            assert (caller.user_id, caller.role) == ("grace", "admin")


def test_rules_are_made_of_addresses_that_no_process_list_shows(gateway, run):
    key = gateway.key("noa")
    url = "json://user:secret@hooks.example.org/x"
    made = run(
        *("notify", "add", "-", "--event", "step_failed"), stdin=f"{url}\n", ACTVERSE_API_KEY=key
    )
    assert made.returncode == 0, made.stderr
    assert "STEP_FAILED" in made.stdout
    assert "secret" not in made.stdout + made.stderr
    (rule,) = json.loads(run("notify", "list", "--json", ACTVERSE_API_KEY=key).stdout)
    assert rule["events"] == ["STEP_FAILED"]
    assert "hooks.example.org" in run("notify", "list", ACTVERSE_API_KEY=key).stdout
    assert run("notify", "remove", str(rule["id"]), ACTVERSE_API_KEY=key).returncode == 0
    assert "no rules" in run("notify", "list", ACTVERSE_API_KEY=key).stderr


@pytest.mark.parametrize("error", ["", "The host is away."])
def test_trying_a_rule_says_what_came_of_it(gateway, client, run, monkeypatch, error):
    rule = client.create_notification("json://hooks.example.org/x")

    def tried(seconds: float) -> None:
        with gateway.sessions.begin() as session:
            row = session.get_one(NotificationRule, rule["id"])
            row.tested, row.test_error = now(), error

    monkeypatch.setattr(admin_commands.time, "sleep", tried)
    told = run("notify", "test", str(rule["id"]))
    assert told.returncode == (1 if error else 0)
    assert "The message is on its way to json://hooks.example.org" in told.stderr
    assert ("It was taken." in told.stdout) == (not error)
    assert error in told.stderr


def test_a_rule_that_nobody_tries_is_not_waited_for_for_ever(client, run, monkeypatch):
    rule = client.create_notification("json://hooks.example.org/x")
    monkeypatch.setattr(admin_commands, "_TEST_SECONDS", 0.0)
    told = run("notify", "test", str(rule["id"]))
    assert told.returncode == 1
    assert "actverse: No worker" in told.stderr


def test_models_need_a_triton_and_say_so(run, monkeypatch):
    monkeypatch.setattr("actverse.rest.time.sleep", lambda seconds: None)
    for command in (("models",), ("models", "--json")):
        told = run(*command)
        assert told.returncode == 1
        assert told.stderr.startswith("actverse: No Triton is set")


def test_a_model_is_imported_and_its_task_named(gateway, run, tmp_path):
    (tmp_path / "mice.pt").write_bytes(b"pt")
    (tmp_path / "a.jpg").write_bytes(b"jpg")
    told = run(
        *("models", "import", str(tmp_path / "mice.pt"), "--name", "ada-imported"),
        *("--images", str(tmp_path), "--imgsz", "320"),
    )
    assert told.returncode == 0, told.stderr
    task_id = told.stdout.strip()
    with gateway.sessions() as session:
        task = read_task(session, task_id)
        assert (task.kind, task.request["imgsz"]) == ("model", 320)
        assert [step.name for step in task.steps] == ["bring", "deploy"]
    assert f"actverse status {task_id} --watch" in told.stderr
    refused = run("models", "import", str(tmp_path / "mice.pt"), "--name", "ada-imported")
    assert refused.returncode == 1
    assert "--images" in refused.stderr


def test_the_gateway_may_stand_before_or_behind_import(run, environment, tmp_path):
    (tmp_path / "mice.zip").write_bytes(b"zip")
    command = ("import", str(tmp_path / "mice.zip"), "--name", "x")
    key = ("--key", environment["ACTVERSE_API_KEY"])
    for arguments in (("models", *key, *command), ("models", *command, *key)):
        told = run(*arguments, ACTVERSE_API_KEY="")
        assert "named neither as a checkpoint nor as an ONNX file" in told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("tasks", "--state", "asleep"),
        ("tasks", "--limit", "0"),
        ("keys", "revoke", "x"),
        ("keys", "create", "a", "--bootstrap", "--role", "user"),
        ("keys", "create", "a", "--again"),
        ("models", "import", "a.pt"),
        ("models", "--json", "import", "a.pt", "--name", "a"),
        ("no-such-command",),
    ],
)
def test_what_is_wrongly_used_ends_with_2(run, arguments):
    told = run(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert "Error" in told.stderr


def test_the_key_may_come_from_a_file_and_is_never_shown(gateway, run, tmp_path):
    path = tmp_path / "key"
    path.write_text(f"{gateway.key('ada')}\n")
    told = run("tasks", "--json", ACTVERSE_API_KEY="", ACTVERSE_API_KEY_FILE=str(path))
    assert told.returncode == 0, told.stderr
    for wrong in ("av_wrong-and-secret", "av_wröng-and-secret", "av_wrong\x1b-and-secret"):
        told = run("tasks", ACTVERSE_API_KEY=wrong)
        assert told.returncode == 1
        assert "and-secret" not in told.stdout + told.stderr
    path.write_bytes(b"\xff\xfeand-secret")
    told = run("tasks", ACTVERSE_API_KEY="", ACTVERSE_API_KEY_FILE=str(path))
    assert told.returncode == 1
    assert str(path) in told.stderr
    assert "and-secret" not in told.stderr
    told = run("tasks", ACTVERSE_API_KEY="")
    assert "ACTVERSE_API_KEY_FILE" in told.stderr


def test_without_any_word_the_stack_that_runs_here_is_asked(gateway, tmp_path, act):
    home = tmp_path / "home"
    addresses = Addresses(gateway.url, "", "", "", os.getpid())
    (home / "secrets").mkdir(parents=True)
    state_path(home).write_text(json.dumps(asdict(addresses)))
    api_key_path(home).write_text(gateway.key("ada"))
    task_id = gateway.task("labeling", folder_path="frames/x", file_path="")
    project = f"labeling/actverse-{task_id}"
    act(task_id, "labeling", end={"tool": "folder", "project": project, "frames": 3})
    with gateway.sessions.begin() as session:
        step = claim_step(session, task_id, "labels", "test", LEASE)
        assert step is not None
        release_step(session, step.id, "test", 0, 3, LEASE)
    kept = {name: v for name, v in os.environ.items() if not name.startswith("ACTVERSE_")}
    told = subprocess.run(
        [sys.executable, "-c", CODE, "status", task_id],
        capture_output=True,
        text=True,
        env={**kept, "ACTVERSE_HOME": str(home)},
    )
    assert told.returncode == 0, told.stderr
    assert f"They are in {home}/storage/users/ada/{project}" in told.stderr
    assert "--gateway" not in told.stderr


def test_a_reader_that_has_enough_is_no_fault(start):
    listing = start("tasks", "--json")
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    assert listing.stderr.read() == ""
    assert listing.wait(30) == 1
