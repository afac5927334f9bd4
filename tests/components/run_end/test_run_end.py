"""What the exit handler tells the gateway, over real HTTP."""

import json
import logging
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from components.errors import Refused
from components.run_end.at_end import at_end
from components.run_end.run_end import RunEnd, run_end, tell_gateway
from components.settings import Settings
from components.steps import StepReport
from components.storage import open_storage
from gateway.webhook import PIPELINES, verify_delivery
from tests.helpers.s3_server import S3Server
from tests.helpers.servers import free_ports
from tests.helpers.web import body, redirect, self_signed, serving

SECRET = "a secret of the pipelines"
END = RunEnd("training", "task-1", "runs/7", "FAILED", "Too few labels: label more.")


class Gateway:
    """Answers with its statuses in turn, the last one again and again."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.came: list[tuple[str, dict[str, str], bytes]] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.came.append((handler.path, headers, handler.content))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        (redirect("http://127.0.0.1:1/") if status == 302 else body(b"", status))(handler)


def tell(gateway: Gateway, end: RunEnd = END, secret: str = SECRET) -> tuple[bool, list[float]]:
    """Whether it was told, and the waits between."""
    waits: list[float] = []
    with serving(gateway.answer) as server:
        uri = f"http://127.0.0.1:{server.server_port}/"
        return tell_gateway(end, gateway_uri=uri, secret=secret, wait=waits.append), waits


def test_the_end_is_signed_as_the_gateway_checks_it():
    gateway = Gateway(202)
    assert tell(gateway) == (True, [])
    [(path, headers, content)] = gateway.came
    assert path == "/webhooks/pipelines"
    assert json.loads(content) == {
        "pipeline": "training",
        "task_id": "task-1",
        "run": "runs/7",
        "state": "FAILED",
        "error": "Too few labels: label more.",
    }
    assert verify_delivery(headers, content, SECRET, PIPELINES)
    with pytest.raises(Refused):
        verify_delivery(headers, content, "another secret", PIPELINES)
    with pytest.raises(Refused):
        verify_delivery(headers, content.replace(b"FAILED", b"PASSED"), SECRET, PIPELINES)


def test_a_gateway_in_trouble_gets_the_same_delivery_again():
    gateway = Gateway(503, 429, 202)
    told, waits = tell(gateway)
    assert told
    assert len(waits) == 2
    assert waits == sorted(waits)
    assert len({headers["x-actverse-delivery-id"] for _, headers, _ in gateway.came}) == 1
    for _, headers, content in gateway.came:
        assert verify_delivery(headers, content, SECRET, PIPELINES)


@pytest.mark.parametrize("status", [401, 400, 302])
def test_a_refusal_is_final(status: int, caplog: pytest.LogCaptureFixture):
    gateway = Gateway(status)
    assert tell(gateway) == (False, [])
    assert len(gateway.came) == 1, "nor is a redirect followed"
    assert f"status {status}" in caplog.text


def test_a_gateway_that_is_away_is_given_up_without_an_error(caplog: pytest.LogCaptureFixture):
    waits: list[float] = []
    uri = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert not tell_gateway(END, gateway_uri=uri, secret=SECRET, wait=waits.append)
    assert waits
    assert "did not take" in caplog.text
    assert not tell_gateway(END, gateway_uri="http://[", secret=SECRET, wait=waits.append)


def test_a_certificate_that_nobody_vouches_for_is_not_taken(tmp_path: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, ["localhost"]))
    gateway = Gateway(202)
    with serving(gateway.answer, tls=context) as server:
        uri = f"https://localhost:{server.server_port}"
        assert not tell_gateway(END, gateway_uri=uri, secret=SECRET, wait=lambda seconds: None)
    assert gateway.came == []


@pytest.mark.parametrize(("uri", "secret"), [("", SECRET), ("http://127.0.0.1:1", "")])
def test_without_a_secret_or_an_address_it_says_so(
    uri: str, secret: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    assert not tell_gateway(END, gateway_uri=uri, secret=secret, wait=pytest.fail)
    missing = "ACTVERSE_PIPELINE_SECRET" if uri else "ACTVERSE_GATEWAY_URI"
    assert f"{missing} is not set" in caplog.text
    assert SECRET not in caplog.text


def ended(state: str, reports: Path) -> RunEnd:
    return run_end(
        "training", "task-1", run="r", state=state, message="Task x failed.", reports=reports
    )


def test_a_failure_is_told_in_the_last_failed_steps_own_words(tmp_path: Path):
    StepReport("train", state="failed", ended=1, error="The first attempt.").write(tmp_path)
    StepReport("dataset", state="succeeded", ended=9).write(tmp_path)
    StepReport("export", state="failed", ended=5, error="It does not behave.").write(tmp_path)
    assert ended("FAILED", tmp_path).error == "It does not behave."
    assert ended("SUCCEEDED", tmp_path) == RunEnd("training", "task-1", "r", "SUCCEEDED")
    assert ended("CANCELED", tmp_path).state == "CANCELLED"
    assert ended("FAILED", tmp_path / "none").error == "Task x failed."


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Gateway, Settings]]:
    """The variables of a pod, with a gateway that takes everything."""
    gateway = Gateway(202)
    with serving(gateway.answer) as server:
        monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
        monkeypatch.setenv("ACTVERSE_GATEWAY_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("ACTVERSE_PIPELINE_SECRET", SECRET)
        yield gateway, Settings()


def test_in_a_pod_the_reports_come_from_the_storage(
    pod: tuple[Gateway, Settings], s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gateway, _ = pod
    monkeypatch.setenv("ACTVERSE_ROOT", f"s3://{s3.new_bucket()}/data")
    monkeypatch.setenv("ACTVERSE_S3_ENDPOINT", s3.endpoint)
    elsewhere = open_storage(Settings(home=tmp_path / "another pod"))
    report = StepReport("train", state="failed", ended=1, error="It did not learn.")
    elsewhere.keep(report.write(elsewhere.layout.step_reports("task-1")))
    at_end("training", "task-1", run="r", state="FAILED", message="Task x failed.")
    assert json.loads(gateway.came[0][2])["error"] == "It did not learn."


def test_a_run_whose_steps_said_nothing_is_told_as_kubeflow_says_it(
    pod: tuple[Gateway, Settings],
):
    gateway, _ = pod
    at_end("training", "task-1", run="r", state="FAILED", message="The pod was evicted.")
    assert json.loads(gateway.came[0][2])["error"] == "The pod was evicted."


def test_a_report_that_cannot_be_read_does_not_keep_the_end_back(
    pod: tuple[Gateway, Settings],
):
    gateway, settings = pod
    reports = settings.layout.step_reports("task-1")
    StepReport("dataset", state="failed", ended=1, error="Label more.").write(reports)
    (reports / "train.json").write_text('{"step": "train", "started": {}}')
    at_end("training", "task-1", run="r", state="FAILED", message="It failed.")
    assert json.loads(gateway.came[0][2])["error"] == "Label more."


def test_a_storage_that_is_away_does_not_keep_the_end_back(
    pod: tuple[Gateway, Settings], monkeypatch: pytest.MonkeyPatch
):
    gateway, _ = pod
    monkeypatch.setenv("ACTVERSE_ROOT", "s3://nobody/data")
    monkeypatch.setenv("ACTVERSE_S3_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    at_end("training", "task-1", run="r", state="FAILED", message="It failed.")
    assert json.loads(gateway.came[0][2])["error"] == "It failed."
