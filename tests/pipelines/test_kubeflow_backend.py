"""Runs on Kubeflow Pipelines, by the real kfp.Client against the published contract."""

import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadInput, NotFound, Refused, Unauthorized, Unavailable
from components.settings import Settings
from pipelines.backend import RunRequest, RunState
from pipelines.backends import open_backend
from pipelines.kubeflow import KubeflowBackend
from pipelines.local_backend import LocalBackend
from tests.helpers.kfp_execution import Execution
from tests.helpers.kfp_server import KfpServer, kfp_server
from tests.helpers.servers import free_ports, wait_until
from tests.helpers.tiny_pipeline import compile_tiny
from tests.helpers.web import self_signed

CREATE, LIST, GET = "run_service_create_run", "run_service_list_runs", "run_service_get_run"
TERMINATE = "run_service_terminate_run"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small pipeline in the place of the training, no wait for a second one, nobody's home."""
    monkeypatch.setattr("pipelines.kubeflow.SAME_SECOND", 0.0)
    for module in ("pipelines.kubeflow", "pipelines.local_backend"):
        monkeypatch.setattr(f"{module}.compile_pipeline", compile_tiny)
        monkeypatch.setattr(f"{module}.check_arguments", lambda name, arguments: None)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))


def backend_of(server: KfpServer, **settings: Any) -> KubeflowBackend:
    backend = open_backend(Settings(kfp_endpoint=server.url, **settings))
    assert isinstance(backend, KubeflowBackend)
    return backend


def request(run: str = "training-t-1", **arguments: Any) -> RunRequest:
    return RunRequest("training", run, {"name": "ada", **arguments})


def test_a_run_is_submitted_and_followed(server: KfpServer):
    backend = backend_of(server, kfp_public_url="https://kubeflow.example/pipeline/")
    assert backend.find("training-t-1") is None
    assert backend.runs() == []
    run_id = backend.submit(request(times=3))
    (run,) = server.named("training-t-1")
    assert run.fields["runtime_config"] == {"parameters": {"name": "ada", "times": 3}}
    assert [e["display_name"] for e in server.experiments.values()] == ["actverse"]
    status = backend.status(run_id)
    assert (status.state, status.pipeline, status.ended) == (RunState.PENDING, "training", None)
    assert status.url == f"https://kubeflow.example/pipeline/#/runs/details/{run_id}"
    assert [t.state for t in status.tasks] == [RunState.PENDING] * 3

    run.become("RUNNING")
    run.task("greet", "SUCCEEDED", log="hello ada\n")
    run.task("wait-for", log="waiting\n")
    run.driver("check", "RUNNING")
    status = backend.find("training-t-1")
    assert status is not None
    assert [(t.name, t.display_name, t.state) for t in status.tasks] == [
        ("greet", "Greet", RunState.SUCCEEDED),
        ("wait-for", "Wait", RunState.RUNNING),
        ("check", "Check", RunState.PENDING),
    ]
    assert status.tasks[0].ended is not None
    assert status.tasks[1].ended is None
    assert list(backend.logs(run_id, "Greet")) == ["hello ada"]
    assert list(backend.logs(run_id)) == ["── greet", "hello ada", "── wait-for", "waiting"]
    with pytest.raises(NotFound, match="no task check: it has greet, wait-for"):
        backend.logs(run_id, "check")

    run.become("SUCCEEDED")
    status = backend.status(run_id)
    # The server may not have heard of the end of each task.
    assert [t.state for t in status.tasks] == [RunState.SUCCEEDED] * 3
    assert status.ended is not None
    assert [r.run_id for r in backend.runs()] == [run_id]


def test_a_step_whose_result_was_cached_is_told_so(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    run = server.runs[run_id]
    run.become("RUNNING")
    run.task("greet", "SUCCEEDED", started="2026-01-01T00:00:00Z", ended="2026-01-01T00:01:00Z")
    run.task("wait-for", "SKIPPED", started="2026-01-01T00:01:30Z")
    run.task("check", "CACHED", started="2026-01-01T00:02:00Z")
    states = [task.state for task in backend.status(run_id).tasks]
    assert states == [RunState.SUCCEEDED, RunState.SKIPPED, RunState.CACHED]
    assert list(backend.logs(run_id)) == ["── greet", "── wait-for"]
    with pytest.raises(NotFound, match=r"The step Check of the run .* has no log: .* the cache"):
        backend.logs(run_id, "Check")


def test_one_name_is_submitted_once(server: KfpServer):
    backend = backend_of(server)
    first = backend.submit(request())
    server.runs[first].become("FAILED")
    assert backend_of(server).submit(request()) == first
    # Moved to another experiment's settings, it is still the same task's.
    assert backend_of(server, kfp_experiment="other").submit(request()) == first
    assert len(server.calls(CREATE)) == 1


def test_a_lost_answer_is_followed_by_a_look_and_not_by_a_second_run(server: KfpServer):
    server.faults[CREATE].append(lambda: None)
    backend = backend_of(server)
    run_id = backend.submit(request())
    assert [run.fields["run_id"] for run in server.named("training-t-1")] == [run_id]
    assert len(server.calls(CREATE)) == 1


def test_an_answer_that_comes_too_late_is_as_good_as_lost(server: KfpServer):
    release, held = threading.Event(), []
    server.faults[CREATE].append(lambda: held.append(release.wait(20)))
    backend = backend_of(server)
    backend._connection.timeout = (5.0, 1.0)
    run_id = backend.submit(request())
    # It was not waited for: the server still holds it back.
    assert held == []
    release.set()
    assert list(server.runs) == [run_id]
    assert len(server.calls(CREATE)) == 1


def test_a_server_that_cannot_now_is_asked_again_later(server: KfpServer):
    backend = backend_of(server)
    server.faults[CREATE].append(503)
    with pytest.raises(Unavailable, match=r"cannot create the run training-t-1 now \(503\)"):
        backend.submit(request())
    assert server.runs == {}
    run_id = backend.submit(request())
    server.faults[GET] = [429]
    with pytest.raises(Unavailable):
        backend.status(run_id)
    assert backend.status(run_id).state == RunState.PENDING


def test_of_two_that_submit_in_one_moment_one_run_goes_on(server: KfpServer):
    backend, other = backend_of(server), backend_of(server)

    def overtaken() -> None:
        # Another one has submitted it after our look and before our creation.
        (ours,) = server.named("training-t-1")
        theirs = other_run()
        theirs.fields["created_at"] = "2026-01-01T00:00:00Z"
        assert theirs is not ours

    def other_run() -> Any:
        body = server.calls(CREATE)[0].body
        made = server._run_service_create_run(sent=body)
        return server.runs[made["run_id"]]

    assert other.find("training-t-1") is None
    server.faults[CREATE].append(overtaken)
    run_id = backend.submit(request())
    lost = [run for run in server.named("training-t-1") if run.fields["run_id"] != run_id]
    assert server.runs[run_id].fields["created_at"] == "2026-01-01T00:00:00Z"
    assert len(lost) == 1
    assert other.submit(request()) == run_id


def test_two_that_see_only_their_own_run_at_first_keep_the_same_one(
    server: KfpServer, monkeypatch: pytest.MonkeyPatch
):
    """Both look, then both create, in one second: the second look waits until it is over."""
    backends = [backend_of(server) for _ in range(2)]
    looked, created = threading.Barrier(2), threading.Barrier(2)
    monkeypatch.setattr("pipelines.kubeflow.SAME_SECOND", 0.0)
    monkeypatch.setattr("pipelines.kubeflow.time.sleep", lambda _: created.wait(20))
    for backend in backends:
        before = iter([None])

        def first(name: str, ask: Any = backend._first, before: Any = before) -> Any:
            if next(before, name) is None:
                looked.wait(20)
                return None
            return ask(name)

        monkeypatch.setattr(backend, "_first", first)
    with ThreadPoolExecutor(2) as threads:
        kept = list(threads.map(lambda backend: backend.submit(request()), backends))
    assert len(set(kept)) == 1
    runs = {run.fields["run_id"]: run for run in server.named("training-t-1")}
    assert len(runs) == 2
    assert runs.pop(kept[0]).fields["state"] == "PENDING"
    assert [run.cancelled for run in runs.values()] == [True]


def test_the_later_of_two_runs_of_a_name_is_ended(server: KfpServer, monkeypatch):
    backend = backend_of(server)
    earlier = backend.submit(request())
    server.runs[earlier].fields["created_at"] = "2026-01-01T00:00:00Z"
    first = backend._first
    answers = iter([None])
    monkeypatch.setattr(backend, "_first", lambda name: next(answers, first(name)))
    assert backend.submit(request()) == earlier
    kept, lost = server.named("training-t-1")
    assert (kept.fields["state"], lost.cancelled) == ("PENDING", True)


@pytest.mark.parametrize("status", [200, 500])
def test_a_pods_log_is_looked_for_by_all_its_names(server: KfpServer, status: int):
    server.log_errors_status = status
    backend = backend_of(server)
    run_id = backend.submit(request())
    run = server.runs[run_id]
    run.task("greet", "SUCCEEDED", log='{"error_message": "ours", "level": "info"}\nhello\n')
    ((name, text),) = run.logs.items()
    # As an archive knows it.
    run.logs = {f"{run.workflow}-{name.rpartition('-')[2]}": text}
    assert list(backend.logs(run_id, "greet")) == text.splitlines()
    run.logs.clear()
    with pytest.raises(NotFound, match=r"is not kept any more: .*\(Failed .*: pod not found\)\.$"):
        list(backend.logs(run_id, "greet"))
    run.task("greet", waiting="image can't be pulled")
    with pytest.raises(NotFound, match=r"The step greet has not begun: .* image can't be pulled"):
        list(backend.logs(run_id, "greet"))
    run.waiting.clear()
    assert list(backend.logs(run_id, "greet")) == []


@pytest.mark.parametrize("status", [200, 500])
def test_a_failed_step_says_why(server: KfpServer, status: int):
    server.log_errors_status = status
    backend = backend_of(server)
    run_id = backend.submit(request())
    run = server.runs[run_id]
    traceback = "Traceback (most recent call last):\n  File …\n{}\n"
    run.task("greet", "SUCCEEDED", log="components.errors.BadInput: not this one\n")
    run.task(
        "check",
        "FAILED",
        log=[
            traceback.format("components.errors.Unavailable: Nobody answers."),
            traceback.format("components.errors.BadInput: The name bad cannot be used."),
        ],
    )
    run.become("FAILED", "workflow failed")
    status = backend.status(run_id)
    assert (status.state, status.error) == (RunState.FAILED, "The name bad cannot be used.")
    assert [t.state for t in status.tasks] == [RunState.SUCCEEDED, RunState.FAILED]
    # Both attempts can be read.
    assert "Nobody answers" in "\n".join(backend.logs(run_id, "check"))

    server.refused["read_run_log"] = "User 'gw' is not authorized: readLog runs"
    assert f"pipeline logs {run_id} --task check' may say why" in backend.status(run_id).error
    with pytest.raises(Refused, match="show the log of check: User 'gw'"):
        list(backend.logs(run_id, "check"))
    server.refused.clear()
    run.logs.clear()
    assert f"pipeline logs {run_id} --task check' may say why" in backend.status(run_id).error
    with pytest.raises(NotFound, match="log of check is not kept any more"):
        list(backend.logs(run_id, "check"))
    assert "is not kept any more" in "\n".join(backend.logs(run_id))

    run.nodes.clear()
    assert backend.status(run_id).error == "workflow failed"


def test_a_step_that_has_failed_says_why_while_its_run_goes_on(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    run = server.runs[run_id]
    run.become("RUNNING")
    run.task("check", "FAILED", log=["components.errors.BadInput: The name is bad.\n"])
    server.faults["read_run_log"].append(503)
    assert "may say why" in backend.status(run_id).tasks[0].error
    # Its log is asked for until it has been read, and no more then.
    for _ in range(3):
        status = backend.status(run_id)
        assert (status.state, status.error) == (RunState.RUNNING, "")
        assert status.tasks[0].error == "The name is bad."
    assert len(server.calls("read_run_log")) == 2
    run.task("check", "FAILED", log="", ended="2026-01-01T00:00:00Z")
    for _ in range(3):
        assert "--task check' may say why" in backend.status(run_id).tasks[0].error
    assert len(server.calls("read_run_log")) == 3
    run.task("check", "FAILED", log="components.errors.BadInput: The name is bad.\n")
    run.become("FAILED")
    assert backend.status(run_id).error == "The name is bad."


@pytest.mark.parametrize("last", ["FAILED", "CANCELED"])
def test_a_canceled_run_has_ended(server: KfpServer, last: str):
    backend = backend_of(server)
    run_id = backend.submit(request())
    server.runs[run_id].become("RUNNING")
    server.runs[run_id].task("greet")
    server.ends_at_once = False
    backend.cancel(run_id)
    status = backend.status(run_id)
    assert (status.state, status.state.ended) == (RunState.CANCELING, False)
    server.runs[run_id].become(last)
    status = backend.status(run_id)
    assert (status.state, status.state.ended) == (RunState.CANCELED, True)
    assert [t.state for t in status.tasks] == [RunState.CANCELED]
    backend.cancel(run_id)
    assert len(server.calls(TERMINATE)) == 1
    # Nor is it for one who has not seen that.
    other = backend_of(server)
    assert other.status(run_id).state == RunState.CANCELED
    assert [run.state for run in other.runs()] == [RunState.CANCELED]


def test_a_run_whose_history_lacks_that_it_was_canceled_is_so_for_who_has_seen_it(
    server: KfpServer,
):
    backend, watching = backend_of(server), backend_of(server)
    run_id = backend.submit(request())
    run = server.runs[run_id]
    server.ends_at_once = False
    backend.cancel(run_id)
    assert watching.status(run_id).state == RunState.CANCELING
    run.become("FAILED")
    run.fields["state_history"] = [{"state": "PENDING"}, {"state": "FAILED"}]
    states = [b.status(run_id).state for b in (backend, watching, backend_of(server))]
    assert states == [RunState.CANCELED, RunState.CANCELED, RunState.FAILED]


def test_a_canceled_run_that_is_begun_once_more_may_fail(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    backend.cancel(run_id)
    assert backend.status(run_id).state == RunState.CANCELED
    server.runs[run_id].become("RUNNING")
    assert backend.status(run_id).state == RunState.RUNNING
    server.runs[run_id].become("FAILED")
    assert backend.status(run_id).state == RunState.FAILED
    assert backend_of(server).status(run_id).state == RunState.FAILED


def test_a_run_that_ends_while_it_is_canceled_stays_as_it_ended(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    server.ends_at_once = False
    server.faults[TERMINATE].append(lambda: server.runs[run_id].become("SUCCEEDED"))
    backend.cancel(run_id)
    assert backend.status(run_id).state == RunState.SUCCEEDED
    other = backend.submit(request("training-t-2"))
    server.faults[TERMINATE].append(503)
    with pytest.raises(Unavailable):
        backend.cancel(other)


def test_a_deleted_run_is_not_there(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    del server.runs[run_id]
    for ask in (backend.status, backend.logs, backend.cancel):
        with pytest.raises(NotFound, match=f"There is no run {run_id} .*: it was deleted"):
            ask(run_id)
    assert backend.find("training-t-1") is None


def test_the_token_is_sent_and_read_anew(server: KfpServer, tmp_path: Path):
    server.token = "first"
    with pytest.raises(Unauthorized, match="ACTVERSE_KFP_TOKEN"):
        backend_of(server).runs()
    assert backend_of(server, kfp_token="first").runs() == []
    file = tmp_path / "token"
    file.write_text("first\n")
    backend = backend_of(server, kfp_token_path=file)
    assert backend.runs() == []
    server.token = "second"
    file.write_text("second")
    assert backend.runs() == []
    assert server.requests[-1].authorization == "Bearer second"
    file.unlink()
    with pytest.raises(Unauthorized, match=f"cannot be read from {file}"):
        backend.runs()


def test_a_namespace_without_rights_is_named_with_what_to_grant(server: KfpServer):
    server.multi_user = True
    with pytest.raises(BadInput, match="ACTVERSE_KFP_NAMESPACE"):
        backend_of(server).runs()
    backend = backend_of(server, kfp_namespace="lab")
    backend.submit(request())
    assert {q.query.get("namespace") for q in server.calls(LIST)} == {"lab"}
    assert [e["namespace"] for e in server.experiments.values()] == ["lab"]
    server.refused[CREATE] = "User 'gw' is not authorized: create runs in lab"
    with pytest.raises(Refused) as refused:
        backend.submit(request("training-t-2"))
    assert "to create the run training-t-2 in the namespace lab: User 'gw' is" in str(refused.value)
    assert "ClusterRole kubeflow-pipelines-edit in the namespace lab" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"version": "1.8.5"}, BadInput, "has no API v2beta1: actverse needs Kubeflow Pipelines 2"),
        ({"version": "3.0.0"}, BadInput, "is Kubeflow Pipelines 3.0.0: actverse needs"),
        ({"version": "2.14.3"}, BadInput, r"2\.14\.3: actverse needs .* 2\.16 or newer"),
        ({"login_page": True}, Unauthorized, "does not know us"),
    ],
)
def test_what_is_not_kubeflow_pipelines_2_is_refused(
    server: KfpServer, change: dict[str, Any], error: type[Exception], sentence: str
):
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(error, match=sentence):
        backend_of(server).submit(request())
    assert server.calls(CREATE) == []


def test_a_login_page_that_comes_later_is_no_empty_answer(server: KfpServer):
    backend = backend_of(server)
    run_id = backend.submit(request())
    server.login_page = True
    for ask in (lambda: backend.find("training-t-1"), lambda: backend.status(run_id)):
        with pytest.raises(Unauthorized):
            ask()


def test_what_the_server_will_not_take_is_told_in_its_words(server: KfpServer):
    server.faults[CREATE].append(400)
    with pytest.raises(BadInput, match=r"create the run training-t-1 \(400\): scripted 400\."):
        backend_of(server).submit(request())


def test_nobody_there(tmp_path: Path):
    settings = Settings(kfp_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ does not answer"):
        open_backend(settings).submit(request())
    with pytest.raises(BadInput, match="'kubeflow:8888', which is no URL"):
        open_backend(Settings(kfp_endpoint="kubeflow:8888"))
    with pytest.raises(BadInput, match="ACTVERSE_KFP_CA_BUNDLE"):
        open_backend(Settings(kfp_endpoint="https://a.example", kfp_ca_bundle=tmp_path / "no"))
    assert isinstance(open_backend(settings, local=True), LocalBackend)


def test_a_certificate_that_nobody_vouches_for_is_not_taken(tmp_path: Path):
    file = self_signed(tmp_path, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with kfp_server(tls=context) as server:
        with pytest.raises(Unavailable, match="ACTVERSE_KFP_CA_BUNDLE"):
            backend_of(server, kfp_token="secret").submit(request())
        assert server.requests == []
        backend = backend_of(server, kfp_ca_bundle=file, kfp_token="secret")
        assert backend.status(backend.submit(request())).state == RunState.PENDING
        # Vouched for, but another one's.
        server.host = "127.0.0.1"
        with pytest.raises(Unavailable, match="cannot be verified"):
            backend_of(server, kfp_ca_bundle=file).runs()


def test_another_tools_configuration_is_left_aside(server: KfpServer, tmp_path: Path, monkeypatch):
    context = tmp_path / "context.json"
    context.write_text(
        json.dumps({"namespace": "elsewhere", "client_authentication_cookie": "session=theirs"})
    )
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(context))
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "theirs")
    backend = backend_of(server)
    backend.submit(request())
    assert backend._connection.client.api.cookie is None
    assert all("elsewhere" not in str(request.query) for request in server.requests)
    assert not (tmp_path / "nobody").exists()


def test_nothing_is_printed_and_the_newest_runs_are_listed(server: KfpServer, capfd):
    backend = backend_of(server)
    for number in range(3):
        run_id = backend.submit(request(f"training-t-{number}"))
        server.runs[run_id].fields["created_at"] = f"2026-01-01T00:00:0{number}Z"
    assert [run.name for run in backend.runs(2)] == ["training-t-2", "training-t-1"]
    assert all(run.tasks == () for run in backend.runs())
    assert capfd.readouterr().out == ""


def test_a_posted_run_is_really_run(tmp_path: Path):
    settings = Settings(home=tmp_path)
    gate = tmp_path / "gate"
    environment = settings.environment(secrets=False)
    with kfp_server(Execution(settings, environment)) as server:
        backend = backend_of(server)
        run_id = backend.submit(request(gate=str(gate)))
        wait_until(lambda: len(backend.status(run_id).tasks) > 1, 60)
        wait_until(lambda: backend.status(run_id).tasks[1].state == RunState.RUNNING, 60)
        gate.touch()
        wait_until(lambda: backend.status(run_id).state.ended, 60)
        assert backend.status(run_id).state == RunState.SUCCEEDED
        assert "hello ada" in "\n".join(backend.logs(run_id, "greet"))
        bad = backend.submit(RunRequest("training", "training-bad", {"name": "bad"}))
        ended = backend.submit(request("training-long", gate=str(tmp_path / "never")))
        wait_until(lambda: backend.status(bad).state.ended, 60)
        assert backend.status(bad).error == "The name bad cannot be used: take another."
        backend.cancel(ended)
        assert backend.status(ended).state == RunState.CANCELED
