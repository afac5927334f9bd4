"""What the embedded stack listens with, and what that does for whom: docs/listeners.md.

Another local account is a program that can connect to the ports and has none of our secrets; a
web page is a request with a page's headers, and a page in a real browser.
"""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import tritonclient.grpc as grpcclient
from mlflow import MlflowClient
from tritonclient.utils import InferenceServerException

from components.registry.tracking_app import USER
from tests.conftest import RunningStack
from tests.helpers.browser import Tab, missing_browser, running_browser

DOCUMENT = Path(__file__).parents[2] / "docs" / "listeners.md"
# As a page of another local server sends it: no preflight is asked for.
PAGE = {"Origin": "http://evil.localhost:8080", "Content-Type": "text/plain"}


def _family(stack: RunningStack) -> list[psutil.Process]:
    supervisor = stack.stack.supervisor
    own = [psutil.Process(supervisor.pid(name)) for name in supervisor._running]
    return own + [child for one in own for child in one.children(recursive=True)]


def test_nothing_else_listens_and_nothing_beyond_this_machine(stack: RunningStack):
    listening = {
        one.laddr
        for process in _family(stack)
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    addresses = stack.addresses
    known = {
        urlsplit(url if "//" in url else f"//{url}").port
        for url in (
            addresses.gateway,
            addresses.mlflow,
            addresses.triton_grpc,
            addresses.triton_metrics,
        )
    }
    assert {one.port for one in listening} == known
    assert {one.ip.removeprefix("::ffff:") for one in listening} == {"127.0.0.1"}


def test_no_process_shows_a_secret_in_its_command_line(stack: RunningStack):
    secrets = {path.read_bytes() for path in (stack.settings.home / "secrets").iterdir()}
    assert len(secrets) >= 5
    seen = 0
    for process in psutil.process_iter():
        try:
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        seen += 1
        assert not [secret for secret in secrets if secret in line], process.name()
    assert seen > len(_family(stack))


def test_files_and_shared_memory_are_their_owners(stack: RunningStack):
    home = stack.settings.home
    assert home.stat().st_mode & 0o077 == 0
    # Whatever is made in it, a broker's messages among it.
    made = [home / "actverse.db", home / "stack.json", *(home / "logs").iterdir()]
    made += [path for path in home.glob("broker/**/*") if path.is_file()]
    assert not [path for path in made if path.stat().st_mode & 0o077]


def test_gateway_tells_a_stranger_only_how_it_is(stack: RunningStack):
    with httpx.Client(base_url=stack.addresses.gateway) as stranger:
        for path in ("/healthz", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
            assert stranger.get(path).status_code in (200, 503), path
        document = stranger.get("/openapi.json").json()
        for path, operations in document["paths"].items():
            for method in operations:
                if path in ("/healthz", "/readyz", "/metrics"):
                    continue
                answer = stranger.request(method, path.replace("{", "").replace("}", ""))
                assert answer.status_code in (401, 429), (method, path)


@pytest.mark.parametrize("headers", [PAGE, {**PAGE, "Host": "evil.localhost:8000"}])
def test_gateway_does_nothing_for_a_page_of_another_address(
    stack: RunningStack, headers: dict[str, str]
):
    with httpx.Client(base_url=stack.addresses.gateway, headers=headers) as page:
        for path in ("/tasks/", "/webhooks/mlflow", "/webhooks/label-studio", "/keys/"):
            answer = page.post(path, content='{"file_path": "a.mp4"}')
            assert answer.status_code in (401, 429), path
        answer = page.get("/healthz")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "set-cookie" not in answer.headers


def test_mlflow_answers_a_stranger_nothing(stack: RunningStack):
    with httpx.Client(base_url=stack.addresses.mlflow) as stranger:
        assert stranger.get("/health").status_code == 200
        for method, path, body in (
            ("GET", "/", None),
            ("POST", "/api/2.0/mlflow/registered-models/create", {"name": "stranger"}),
            ("POST", "/ajax-api/2.0/mlflow/registered-models/alias", {"name": "a"}),
            ("GET", "/api/2.0/mlflow-artifacts/artifacts", None),
            ("POST", "/graphql", {"query": "{test}"}),
            ("POST", "/api/2.0/mlflow/webhooks", {"url": "http://169.254.169.254/"}),
        ):
            assert stranger.request(method, path, json=body).status_code == 401, path
    assert not [one for one in _models(stack) if one == "stranger"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (PAGE, 403),
        ({**PAGE, "Origin": "http://127.0.0.1:8080"}, 403),
        ({"Host": "evil.localhost:5000", "Content-Type": "application/json"}, 403),
        ({"Host": "169.254.169.254", "Content-Type": "application/json"}, 403),
    ],
    ids=["another name", "another port", "a name that leads here", "another private address"],
)
def test_mlflow_does_nothing_for_a_page_although_the_browser_knows_the_password(
    stack: RunningStack, headers: dict[str, str], status: int
):
    token = stack.settings.mlflow_token.get_secret_value()
    answer = httpx.post(
        f"{stack.addresses.mlflow}/api/2.0/mlflow/registered-models/create",
        content='{"name": "of-a-page"}',
        headers=headers,
        auth=(USER, token),
    )
    assert answer.status_code == status
    assert "of-a-page" not in _models(stack)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/", "http://127.0.0.1:1/", "https://example.com/"]
)
def test_mlflow_sends_webhooks_to_the_gateway_alone(stack: RunningStack, url: str):
    from mlflow.exceptions import MlflowException

    client = MlflowClient(stack.addresses.mlflow)
    with pytest.raises(MlflowException, match="403"):
        client.create_webhook(name="astray", url=url, events=["model_version.created"])
    (own,) = client.list_webhooks()
    assert own.url == f"{stack.addresses.gateway}/webhooks/mlflow"
    with pytest.raises(MlflowException, match="403"):
        client.update_webhook(own.webhook_id, url=url)


def test_triton_lets_a_stranger_look_and_infer_and_change_nothing(stack: RunningStack):
    """Every protocol is tried in tests/components/serving/test_triton_door.py."""
    with grpcclient.InferenceServerClient(stack.addresses.triton_grpc) as client:
        assert client.is_server_live()
        for attempt in (
            lambda: client.load_model("any", config="{}", files={"file:1/model.py": b""}),
            lambda: client.unload_model("any"),
            lambda: client.register_system_shared_memory("any", "/any", 1),
        ):
            with pytest.raises(InferenceServerException, match="restricted"):
                attempt()


def test_triton_speaks_no_http_but_its_metrics(stack: RunningStack):
    load = "/v2/repository/models/any/load"
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://{stack.addresses.triton_grpc}{load}", headers=PAGE, timeout=5)
    metrics = stack.addresses.triton_metrics
    assert httpx.get(metrics).is_success
    assert httpx.post(metrics.replace("/metrics", load), headers=PAGE).is_error


@pytest.fixture
def evil() -> Iterator[str]:
    """The address of a server of somebody else's on this machine, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>evil</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with running_browser(tmp_path) as tab:
        yield tab


@pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())
def test_a_page_in_a_browser_that_is_logged_in_to_mlflow_does_nothing(
    stack: RunningStack, tab: Tab, evil: str
):
    addresses, token = stack.addresses, stack.settings.mlflow_token.get_secret_value()
    mlflow = urlsplit(addresses.mlflow).netloc
    tab.call("Page.navigate", url=f"http://{USER}:{token}@{mlflow}/")
    tab.wait_for("document.title === 'MLflow'")
    # The browser knows the password, and MLflow's own page works by it.
    tab.open(f"http://{mlflow}/")
    tab.wait_for("document.title === 'MLflow' && document.querySelector('#root *')")
    own = "fetch('/ajax-api/2.0/mlflow/registered-models/search').then(a => window.own = a.status)"
    tab.run(f"{own}; null")
    tab.wait_for("window.own === 200")
    tab.open(evil)
    targets = {
        f"http://{mlflow}/api/2.0/mlflow/registered-models/create": {"name": "of-a-browser"},
        f"http://{addresses.triton_grpc}/v2/repository/models/any/load": {},
        addresses.triton_metrics.replace("/metrics", "/v2/repository/models/any/load"): {},
        f"{addresses.gateway}/tasks/": {"file_path": "a.mp4"},
    }
    tab.run(
        f"""
        window.ended = 0;
        for (const [url, body] of Object.entries({json.dumps(targets)}))
            for (const mode of ["no-cors", "cors"])
                fetch(url, {{
                    method: "POST", mode, credentials: "include",
                    headers: {{"Content-Type": "text/plain"}}, body: JSON.stringify(body),
                }}).then(a => {{ window.read = window.read || a.type === "cors" }}, () => 0)
                   .finally(() => window.ended++);
        null
        """
    )
    tab.wait_for(f"window.ended === {2 * len(targets)}")
    assert not tab.run("window.read")
    assert "of-a-browser" not in _models(stack)
    assert not list(stack.client.tasks("queued"))
    for name in ("mlflow", "triton"):
        assert psutil.Process(stack.stack.supervisor.pid(name)).is_running()


def test_every_line_of_the_table_names_a_test_that_is_there():
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not re.match(r"\| (listener|---)", line)]
    assert len(rows) >= 10
    root = DOCUMENT.parents[1]
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert f"def {test}(" in (root / path).read_text(), (path, test)


def _models(stack: RunningStack) -> set[str]:
    return {one.name for one in MlflowClient(stack.addresses.mlflow).search_registered_models()}
