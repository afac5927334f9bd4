"""The servers of the manifests, started for real with the very arguments and variables."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import httpx
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from actverse.stack import register_webhook
from components.errors import StepFailed
from components.serving.control import TritonControl
from components.serving.server import Launch
from components.settings import Settings
from gateway.webhook import verify_delivery
from tests.helpers.manifests import MANIFESTS, environment, made_secrets, render, workloads
from tests.helpers.postgres import Postgres, running_postgres
from tests.helpers.s3_server import CREDENTIALS, S3Server, running_s3
from tests.helpers.servers import TritonServer, free_ports, new_triton, wait_until

Secrets = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def secrets(folder: Path) -> Secrets:
    return made_secrets(folder / "secrets")


@pytest.fixture(scope="module")
def postgres(folder: Path, secrets: Secrets) -> Iterator[Postgres]:
    """One whose databases the manifests' own script has made."""
    with running_postgres(folder / "postgres") as server:
        script = MANIFESTS / "components" / "postgres" / "databases.sh"
        passwords = str(folder / "secrets" / "actverse-postgres")
        subprocess.run(
            ["sh", str(script)],
            env=server.environment | {"PASSWORDS": passwords},
            check=True,
            timeout=30,
        )
        yield server


def psql(server: Postgres, user: str, database: str, password: str) -> str:
    """What PostgreSQL says to a user who asks who he is."""
    done = subprocess.run(
        ["psql", "--tuples-only", "--no-align", "--command", "select current_user", database],
        env=server.environment | {"PGHOST": "127.0.0.1", "PGUSER": user, "PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).strip()


def test_each_user_gets_into_his_own_database_alone(postgres: Postgres, secrets: Secrets):
    passwords = secrets["actverse-postgres"]
    for user in ("actverse", "mlflow", "label_studio"):
        password = passwords[f"{user.upper()}_PASSWORD"]
        assert psql(postgres, user, user, password) == user
        assert "password authentication failed" in psql(postgres, user, user, "wrong")
        other = "mlflow" if user == "actverse" else "actverse"
        assert "permission denied for database" in psql(postgres, user, other, password)


class _Hearing(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", port), _Answer)


class _Answer(BaseHTTPRequestHandler):
    server: _Hearing

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(({name.lower(): one for name, one in self.headers.items()}, body))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def hearing() -> Iterator[_Hearing]:
    """A gateway's ears on a private address, the loopback."""
    with _Hearing(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def mlflow_of_the_manifest(
    folder: Path, secrets: Secrets, postgres: Postgres, s3: S3Server, port: int
) -> Iterator[str]:
    """The overlay's MLflow; only addresses are this machine's."""
    documents = render("embedded-kind")
    workload = workloads(documents)["mlflow"]
    variables = environment(documents, workload, secrets)
    uri = variables["MLFLOW_BACKEND_STORE_URI"]
    variables |= {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
        "MLFLOW_BACKEND_STORE_URI": uri.replace("@postgres:5432", f"@127.0.0.1:{postgres.port}"),
    }
    assert workload.container["command"] == ["mlflow", "server"]
    changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    args = [changed.get(one, one) for one in workload.container["args"]]
    for name, value in variables.items():
        args = [one.replace(f"$({name})", value) for one in args]
    assert not [one for one in args if "$(" in one]
    with (folder / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *args],
            env=variables,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "mlflow.log").read_text()[-3000:]
        try:
            return httpx.get(f"{address}/health", timeout=2).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 90, "MLflow")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_mlflow_keeps_artifacts_on_s3_and_its_webhook_over_a_restart(
    folder: Path, secrets: Secrets, postgres: Postgres
):
    from mlflow import MlflowClient

    secret = secrets["actverse"]["ACTVERSE_WEBHOOK_SECRET"]
    (port,) = free_ports(1)
    with running_s3(folder) as s3, hearing() as gateway:
        httpx.put(f"{s3.endpoint}/actverse").raise_for_status()
        settings = Settings(
            mlflow_uri=f"http://127.0.0.1:{port}",
            gateway_uri=f"http://127.0.0.1:{gateway.server_port}",
            webhook_secret=secret,
        )
        with mlflow_of_the_manifest(folder, secrets, postgres, s3, port) as uri:
            asked = f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
            name = "mlflow.actverse.svc.cluster.local:5000"
            assert httpx.get(asked, headers={"Host": name}).status_code == 200
            assert httpx.get(asked, headers={"Host": "mlflow.example.net"}).status_code == 403
            client = MlflowClient(uri)
            run = client.create_run("0").info.run_id
            client.log_text(run, "kept", "word.txt")
            client.create_registered_model("mouse")
            client.create_model_version("mouse", f"runs:/{run}/word.txt", run)
            register_webhook(settings)
        assert "mlflow/0/" in httpx.get(f"{s3.endpoint}/actverse?list-type=2").text
        with mlflow_of_the_manifest(folder, secrets, postgres, s3, port) as uri:
            MlflowClient(uri).set_registered_model_alias("mouse", "champion", "1")
            wait_until(lambda: gateway.heard, 30, "the webhook")
    headers, body = gateway.heard[0]
    verify_delivery(headers, body, secret)
    assert b'"champion"' in body


def test_a_new_bucket_is_a_repository_and_what_is_in_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = MANIFESTS / "components" / "s3" / "make_bucket.py"
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_s3(tmp_path) as s3:
        monkeypatch.setenv("ACTVERSE_ROOT", "s3://actverse/data")
        monkeypatch.setenv("ACTVERSE_S3_ENDPOINT", s3.endpoint)
        monkeypatch.setenv("ACTVERSE_S3_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=s3.endpoint, region_name="us-east-1")

        def made() -> list[str]:
            subprocess.run([sys.executable, script], check=True, timeout=60)
            found = client.list_objects_v2(Bucket="actverse")["Contents"]
            return [one["Key"] for one in found]

        assert made() == ["data/models/README.txt"]
        client.put_object(Bucket="actverse", Key="data/models/a/config.pbtxt", Body=b"a")
        client.delete_object(Bucket="actverse", Key="data/models/README.txt")
        assert made() == ["data/models/a/config.pbtxt"]


@contextmanager
def triton_of_the_manifest(folder: Path, key: str, *, drop: str = "") -> Iterator[TritonServer]:
    """The wheel's Triton with the manifest's options; only addresses are this machine's."""
    documents = render("embedded-kind")
    server = new_triton(folder, http=True)
    theirs = [
        one.replace("$(CONTROL_KEY)", key)
        for one in workloads(documents)["triton"].container["args"]
        if one != drop and not one.startswith("--model-repository=") and "-port=" not in one
    ]
    kept = ("--model-repository=", "--backend-", "--http-address", "--grpc-address", "--metrics-")
    ours = [
        one
        for one in server.launch.argv
        if one.startswith(kept) or "-port=" in one or not one.startswith("--")
    ]
    server.launch = Launch([*ours, *theirs], server.launch.env, server.launch.shared_memory_prefix)
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(
            server.launch.argv,
            env=server.launch.env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: server.process.poll() is not None or is_ready(server), 30, "Triton")
        assert server.process.poll() is None, server.log.read_text()
        yield server
    finally:
        server.stop()


def is_ready(server: TritonServer) -> bool:
    """What the readiness probe is answered."""
    (port,) = [one.partition("=")[2] for one in server.launch.argv if "--http-port=" in one]
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2).is_success
    except httpx.TransportError:
        return False


def fail_to_load(server: TritonServer, key: str) -> None:
    """Let it load, and unload, a version that cannot be loaded."""
    broken = server.repository / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.onnx").write_bytes(b"no model")
    (broken / "config.pbtxt").write_text('name: "broken"\nbackend: "onnxruntime"\n')
    with TritonControl(server.url, key=key) as control:
        with pytest.raises(StepFailed, match="load failed"):
            control.load("broken")
        control.unload("broken")


def test_triton_wants_the_key_and_stays_ready_after_a_bad_version(tmp_path: Path, secrets: Secrets):
    key = secrets["actverse-triton"]["control-key"]
    with triton_of_the_manifest(tmp_path, key) as server:
        stranger = grpcclient.InferenceServerClient(server.url)
        with pytest.raises(InferenceServerException, match="restricted"):
            stranger.get_model_repository_index()
        with pytest.raises(InferenceServerException, match="restricted"):
            stranger.load_model("any")
        fail_to_load(server, key)
        assert is_ready(server)


def test_a_strict_triton_would_not_be_ready_again(tmp_path: Path, secrets: Secrets):
    """Why the manifest says otherwise: once this fails, it need not any more."""
    key = secrets["actverse-triton"]["control-key"]
    with triton_of_the_manifest(tmp_path, key, drop="--strict-readiness=false") as server:
        fail_to_load(server, key)
        assert not is_ready(server)
