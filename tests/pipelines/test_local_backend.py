"""Runs on this machine: submitted once, followed, ended, and never left in "running"."""

import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from components.errors import BadInput, NotFound
from components.settings import Settings
from pipelines.backend import RunRequest, RunState
from pipelines.local_backend import LocalBackend
from pipelines.run_folder import RunFolder
from tests.helpers.servers import wait_until
from tests.helpers.tiny_pipeline import compile_loop, compile_tiny


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    monkeypatch.setattr("pipelines.local_backend.compile_pipeline", compile_tiny)
    monkeypatch.setattr("pipelines.local_backend.check_arguments", lambda name, arguments: None)
    settings = Settings(home=tmp_path, root="s3://bucket/prefix", api_key_secret="secret")
    return LocalBackend(settings, own_session=False)


def request(run: str = "training-t-1", **arguments: object) -> RunRequest:
    return RunRequest("training", run, {"name": "ada", **arguments})


def ended(backend: LocalBackend, run: str) -> None:
    wait_until(lambda: backend.status(run).state.ended, 60, f"the end of {run}")


def test_a_run_is_followed_to_its_end(backend: LocalBackend, tmp_path: Path):
    gate = tmp_path / "gate"
    assert backend.find("training-t-1") is None
    run = backend.submit(request(gate=str(gate)))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    status = backend.status(run)
    assert (status.state, status.pipeline, status.name) == (RunState.RUNNING, "training", run)
    assert [(t.name, t.display_name, t.state) for t in status.tasks] == [
        ("greet", "Greet", RunState.SUCCEEDED),
        ("wait-for", "Wait", RunState.RUNNING),
        ("check", "Check", RunState.PENDING),
    ]
    gate.touch()
    ended(backend, run)
    status = backend.status(run)
    assert (status.state, status.error) == (RunState.SUCCEEDED, "")
    assert [t.state for t in status.tasks] == [RunState.SUCCEEDED] * 3
    assert status.created <= status.tasks[0].started <= status.tasks[2].ended <= status.ended
    greeting = "\n".join(backend.logs(run, "Greet"))
    assert "hello ada" in greeting
    assert "waiting" not in greeting
    assert f"secrets: [], root: {tmp_path / 'workspace'}" in greeting
    assert "\x1b" not in "\n".join(backend.logs(run))
    assert [found.run_id for found in backend.runs()] == [run]
    with pytest.raises(NotFound, match="no task train: it has greet, wait-for, check"):
        backend.logs(run, "train")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bad", "The name bad cannot be used: take another."),
        ("worse", "The step check broke: KeyError: 'worse'"),
    ],
)
def test_a_step_that_fails_says_why(backend: LocalBackend, name: str, sentence: str):
    run = backend.submit(RunRequest("training", "training-f", {"name": name}))
    ended(backend, run)
    status = backend.status(run)
    assert (status.state, status.error) == (RunState.FAILED, sentence)
    assert [t.error for t in status.tasks] == ["", "", sentence]


def test_one_name_is_one_run_however_often_it_is_submitted(backend: LocalBackend, tmp_path: Path):
    other = LocalBackend(backend._settings, own_session=False)
    ready = threading.Barrier(4)

    def submit(place: LocalBackend) -> None:
        ready.wait()
        place.submit(request())

    threads = [threading.Thread(target=submit, args=(place,)) for place in (backend, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended(backend, "training-t-1")
    assert other.submit(request(name="bob")) == "training-t-1"
    assert other.status("training-t-1").state == RunState.SUCCEEDED
    log = RunFolder(tmp_path / "pipelines" / "runs" / "training-t-1").log.read_text()
    assert log.count("hello ada") == 1
    assert "hello bob" not in log


def test_a_canceled_run_leaves_no_process(backend: LocalBackend, tmp_path: Path):
    run = backend.submit(request(gate=str(tmp_path / "never")))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    process = psutil.Process(RunFolder(tmp_path / "pipelines" / "runs" / run).process().pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) > 1
    # By another than who began it, as from another terminal.
    LocalBackend(backend._settings).cancel(run)
    _, alive = psutil.wait_procs(family, 5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    status = backend.status(run)
    assert status.state == RunState.CANCELED
    assert [t.state for t in status.tasks] == [RunState.SUCCEEDED, RunState.CANCELED]
    backend.cancel(run)
    assert backend.status(run).state == RunState.CANCELED
    # One that had ended stays as it was.
    done = backend.submit(request("training-t-2"))
    ended(backend, done)
    backend.cancel(done)
    assert backend.status(done).state == RunState.SUCCEEDED


def test_a_run_whose_process_was_killed_is_not_running(backend: LocalBackend, tmp_path: Path):
    run = backend.submit(request(gate=str(tmp_path / "gate")))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    folder = RunFolder(tmp_path / "pipelines" / "runs" / run)
    os.kill(folder.process().pid, signal.SIGKILL)
    (tmp_path / "gate").touch()
    ended(backend, run)
    status = backend.status(run)
    assert status.state == RunState.FAILED
    assert f"ended without a word, killed perhaps: read {folder.log}" in status.error
    assert status.tasks[-1].state == RunState.FAILED


def _steps(folder: RunFolder) -> list[psutil.Process]:
    """The processes of a run's steps: KFP's executor, and the shell around it."""
    process = folder.process()
    assert process is not None
    return psutil.Process(process.pid).children(recursive=True)


def _temporary(folder: RunFolder) -> Path:
    """Where the steps of a run make temporary files; one of them is there."""
    path = Path(json.loads((folder.path / "temporary.json").read_text()))
    wait_until(lambda: list(path.iterdir()), what="a step's temporary files")
    return path


@pytest.mark.parametrize(
    ("number", "sentence", "passes"),
    [
        (signal.SIGKILL, "was ended from outside by signal 9 (SIGKILL)", True),
        (signal.SIGTERM, "was ended from outside by signal 15 (SIGTERM)", True),
        (signal.SIGSEGV, "broke and was ended by signal 11 (SIGSEGV)", False),
    ],
)
def test_a_step_that_a_signal_has_ended_says_which(
    backend: LocalBackend, tmp_path: Path, number: signal.Signals, sentence: str, passes: bool
):
    run = backend.submit(request(gate=str(tmp_path / "never")))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    folder = RunFolder(tmp_path / "pipelines" / "runs" / run)
    (step,) = (process for process in _steps(folder) if "python" in process.name())
    step.send_signal(number)
    ended(backend, run)
    status = backend.status(run)
    assert status.state == RunState.FAILED
    assert status.error.startswith(f"The step wait-for {sentence}: ")
    assert [task.killed for task in status.tasks] == [False, passes]


def test_nothing_temporary_of_a_run_is_left(backend: LocalBackend, tmp_path: Path):
    gate = tmp_path / "gate"
    run = backend.submit(request(gate=str(gate)))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    temporary = _temporary(RunFolder(tmp_path / "pipelines" / "runs" / run))
    gate.touch()
    ended(backend, run)
    assert backend.status(run).state == RunState.SUCCEEDED
    assert not temporary.exists()


def test_the_next_run_removes_what_a_killed_one_has_left(backend: LocalBackend, tmp_path: Path):
    """Its process alone was ended: as by a kernel that is short of memory."""
    run = backend.submit(request(gate=str(tmp_path / "never")))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    folder = RunFolder(tmp_path / "pipelines" / "runs" / run)
    temporary, steps = _temporary(folder), _steps(folder)
    assert steps
    os.kill(folder.process().pid, signal.SIGKILL)
    wait_until(lambda: not backend._alive(folder), what="its end")
    assert any(step.is_running() for step in steps)
    # Another process, that has seen nothing of it; and nobody asks for that run.
    other = LocalBackend(backend._settings, own_session=False)
    ended(other, other.submit(request("training-t-2")))
    assert not temporary.exists()
    _, alive = psutil.wait_procs(steps, 5)
    assert [step for step in alive if step.status() != psutil.STATUS_ZOMBIE] == []
    assert other.status(run).killed
    assert not other.status("training-t-2").killed


def test_an_interrupted_run_is_no_success(backend: LocalBackend, tmp_path: Path):
    run = backend.submit(request(gate=str(tmp_path / "gate")))
    wait_until(lambda: "waiting" in "\n".join(backend.logs(run)), 60, "the second step")
    os.kill(RunFolder(tmp_path / "pipelines" / "runs" / run).process().pid, signal.SIGINT)
    (tmp_path / "gate").touch()
    ended(backend, run)
    assert backend.status(run).state == RunState.FAILED


def test_a_submission_that_was_cut_off_is_begun_by_the_next(backend: LocalBackend, tmp_path: Path):
    folder = RunFolder(tmp_path / "pipelines" / "runs" / "training-t-1")
    with folder.locked():
        folder.write_request(request())
        assert backend.status("training-t-1").state == RunState.PENDING
    status = backend.status("training-t-1")
    assert (status.state, "submit it again" in status.error) == (RunState.FAILED, True)
    ended(backend, backend.submit(request()))
    assert backend.status("training-t-1").state == RunState.SUCCEEDED


def test_a_run_of_its_own_session_is_in_no_group_of_ours(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("pipelines.local_backend.compile_pipeline", compile_tiny)
    monkeypatch.setattr("pipelines.local_backend.check_arguments", lambda name, arguments: None)
    backend = LocalBackend(Settings(home=tmp_path))
    run = backend.submit(request(gate=str(tmp_path / "gate")))
    pid = RunFolder(tmp_path / "pipelines" / "runs" / run).process().pid
    assert os.getpgid(pid) != os.getpgid(0)
    backend.cancel(run)
    assert backend.status(run).state == RunState.CANCELED


def test_turns_of_a_loop_keep_their_logs_apart(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.local_backend.compile_pipeline", compile_loop)
    (tmp_path / "met").mkdir()
    arguments = {"names": ["ada", "bob"], "folder": str(tmp_path / "met")}
    run = backend.submit(RunRequest("analysis", "analysis-1", arguments))
    ended(backend, run)
    status = backend.status(run)
    assert status.state == RunState.SUCCEEDED, "\n".join(backend.logs(run))
    assert [(t.name, t.state) for t in status.tasks] == [("meet", RunState.SUCCEEDED)] * 2
    logs = RunFolder(tmp_path / "pipelines" / "runs" / run).logs.iterdir()
    texts = [log.read_text().splitlines() for log in logs]
    said = [{line.split()[-1] for line in lines if "here is" in line} for lines in texts]
    assert sorted(map(sorted, said)) == [["ada"], ["bob"]]


def test_what_is_not_there_is_named(backend: LocalBackend):
    for ask in (backend.status, backend.logs, backend.cancel):
        with pytest.raises(NotFound, match="no run training-x"):
            ask("training-x")
    with pytest.raises(BadInput, match=r"run '\.\./x' cannot be used"):
        backend.find("../x")
