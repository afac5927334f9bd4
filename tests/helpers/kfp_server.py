"""A Kubeflow Pipelines for tests: a real server on the loopback that keeps to the contract.

What comes and what goes is checked against the generated client's own models. Runs go on as the
test says, or, with ``execute``, are really run on this machine from the YAML that was posted.
"""

import json
import ssl
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers.kfp_contract import Breach, check, operations
from tests.helpers.kfp_execution import Execution
from tests.helpers.kfp_runs import UNSET, ServedRun, wire_time
from tests.helpers.web import body, serving

_LOG_PATH = ("apis", "v1alpha1", "runs", "nodes", "log")


@dataclass(frozen=True)
class Request:
    """What came: the operation's name, as the generated client has it, and what it was given."""

    operation: str
    authorization: str
    query: dict[str, str]
    body: dict[str, Any]


class _Answered(Exception):
    def __init__(self, status: int, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.status = status
        self.content: dict[str, Any] = {"error": message, "code": code, "message": message}


class KfpServer:
    """The server's state, which the test reads and writes.

    Attributes:
        requests: what came, in order.
        breaches: where somebody did not keep to the contract; a test expects none.
        token: what callers must bring, if not empty.
        multi_user, version: of the installation; version 1 has no API v2beta1.
        login_page: every request is sent to one.
        faults: by operation, what happens to its next calls: a status to answer with, or a
            function that is called once all is done, in place of the answer.
        log_errors_status: with which it says that there is no log: 2.16 does with 200.
        ends_at_once: whether a run that is to be terminated ends at once: FAILED, as Argo has it.
    """

    def __init__(self, execution: Execution | None = None) -> None:
        self.port = 0
        self.scheme, self.host = "http", "127.0.0.1"
        self.requests: list[Request] = []
        self.breaches: list[str] = []
        self.token = ""
        self.multi_user = False
        self.version = "2.17.0"
        self.login_page = False
        self.faults: dict[str, list[int | Callable[[], None]]] = defaultdict(list)
        self.refused: dict[str, str] = {}
        self.log_errors_status = 200
        self.ends_at_once = True
        self.runs: dict[str, ServedRun] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self._operations = operations()
        self._execution = execution
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def named(self, name: str) -> list[ServedRun]:
        """The runs of a name."""
        return [run for run in self.runs.values() if run.fields["display_name"] == name]

    def calls(self, operation: str) -> list[Request]:
        """What came of one operation."""
        return [request for request in self.requests if request.operation == operation]

    def close(self) -> None:
        """End what is still executed."""
        if self._execution is not None:
            self._execution.close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        if self.login_page and not handler.path.startswith("/login"):
            body(b"", 302, Location="/login")(handler)
            return
        if handler.path.startswith("/login"):
            body(b"<html>Log in</html>", Content_Type="text/html")(handler)
            return
        hang: Callable[[], None] | None = None
        try:
            status, content, hang = self._handle(handler)
        except _Answered as answered:
            status, content = answered.status, answered.content
        except Breach as breach:
            self.breaches.append(str(breach))
            status, content = 400, {"error": str(breach), "code": 3, "message": str(breach)}
        if hang is not None:
            hang()
            handler.close_connection = True
            with suppress(OSError):
                handler.connection.shutdown(2)
            return
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "text/plain" if isinstance(content, bytes) else "application/json"
        body(raw, status, Content_Type=kind)(handler)

    def _handle(self, handler: BaseHTTPRequestHandler) -> tuple[int, Any, Any]:
        url = urlsplit(handler.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        sent = json.loads(handler.content or b"{}")  # type: ignore[attr-defined]
        authorization = handler.headers.get("authorization", "")
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        log = len(parts) == 7 and (*parts[:3], parts[4], parts[6]) == _LOG_PATH
        if self.version.startswith("1.") and not log:
            raise _Answered(404, "Not Found", 5)
        name, arguments, operation = "read_run_log", {"run_id": "", "node_id": ""}, None
        if log:
            arguments = {"run_id": parts[3], "node_id": parts[5]}
        else:
            for operation in self._operations:
                found = operation.path.match(url.path)
                if found and operation.method == handler.command:
                    name, arguments = operation.name, found.groupdict()
                    break
            else:
                raise Breach(f"there is no {handler.command} {url.path}")
            if unknown := query.keys() - operation.query:
                raise Breach(f"{name} has no parameters {sorted(unknown)}")
            if operation.body:
                check(sent, operation.body)
        self.requests.append(Request(name, authorization, query, sent))
        if self.token and authorization != f"Bearer {self.token}":
            raise _Answered(401, "Request header error: there is no user identity header.", 16)
        if name in self.refused:
            raise _Answered(403, self.refused[name], 7)
        faults = self.faults[name]
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            raise _Answered(fault, f"scripted {fault}")
        with self._lock:
            content = getattr(self, f"_{name}")(query=query, sent=sent, **arguments)
            if operation is not None and not isinstance(content, bytes):
                content = json.loads(json.dumps(content))
                if name != "healthz_service_get_healthz":
                    # The real one tells its version, too, which the model leaves out.
                    check(content, operation.answer)
        return 200, content, fault

    def _healthz_service_get_healthz(self, **_: Any) -> dict[str, Any]:
        answer = {"multi_user": self.multi_user}
        check(answer, "V2beta1GetHealthzResponse")
        return {**answer, "commit_sha": "1" * 40, "tag_name": self.version}

    def _experiment_service_list_experiments(
        self, query: dict[str, str], **_: Any
    ) -> dict[str, Any]:
        found = [e for e in self.experiments.values() if self._listed(e, query)]
        return {"experiments": found, "total_size": len(found)} if found else {}

    def _experiment_service_create_experiment(
        self, sent: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        same = (sent["display_name"], sent.get("namespace", ""))
        if same in [(e["display_name"], e["namespace"]) for e in self.experiments.values()]:
            raise _Answered(409, f"Experiment {sent['display_name']} already exists.", 6)
        if self.multi_user and not sent.get("namespace"):
            raise _Answered(400, "Invalid input error: Namespace cannot be empty.", 3)
        made = {
            "experiment_id": str(uuid.uuid4()),
            "display_name": sent["display_name"],
            "namespace": sent.get("namespace", ""),
            "created_at": wire_time(),
            "storage_state": "AVAILABLE",
        }
        self.experiments[made["experiment_id"]] = made
        return made

    def _run_service_create_run(self, sent: dict[str, Any], **_: Any) -> dict[str, Any]:
        if sent.get("experiment_id") not in self.experiments:
            raise _Answered(404, f"Experiment {sent.get('experiment_id')} not found.", 5)
        run_id = str(uuid.uuid4())
        fields = {
            **{key: sent[key] for key in ("experiment_id", "display_name")},
            **{key: sent[key] for key in ("pipeline_spec", "runtime_config")},
            "run_id": run_id,
            "storage_state": "AVAILABLE",
            "created_at": wire_time(),
            "scheduled_at": wire_time(),
            "finished_at": UNSET,
            "state": "PENDING",
            "state_history": [{"update_time": wire_time(), "state": "PENDING"}],
        }
        run = self.runs[run_id] = ServedRun(fields, f"actverse-{run_id[:5]}")
        if self._execution is not None:
            self._execution.start(run)
        return run.json()

    def _run_service_get_run(self, run_id: str, **_: Any) -> dict[str, Any]:
        return self._run(run_id).json()

    def _run_service_list_runs(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        if self.multi_user and not (query.get("namespace") or query.get("experiment_id")):
            raise _Answered(400, "Invalid input error: a namespace is needed.", 3)
        key, _, order = query.get("sort_by", "created_at asc").partition(" ")
        found = [self._run(run_id) for run_id, r in self.runs.items() if self._in(r, query)]
        found.sort(key=lambda run: run.fields[key], reverse=order == "desc")
        begin, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
        answer = {
            "runs": [run.json() for run in found[begin : begin + size]],
            "total_size": len(found),
        }
        if begin + size < len(found):
            answer["next_page_token"] = str(begin + size)
        return answer if found else {}

    def _run_service_terminate_run(self, run_id: str, **_: Any) -> dict[str, Any]:
        run = self._run(run_id)
        if run.over:
            raise _Answered(500, f"Failed to terminate run {run_id}. Row not found.", 13)
        if self._execution is not None:
            self._execution.cancel(run)
        else:
            run.become("CANCELING")
            if self.ends_at_once:
                run.become("FAILED")
        return {}

    def _read_run_log(self, run_id: str, node_id: str, **_: Any) -> bytes:
        run = self._run(run_id)
        if node_id in run.waiting:
            said = (
                f'container "main" in pod "{node_id}" is waiting to start: {run.waiting[node_id]}'
            )
            return self._no_log(f"Failed to read logs for run {run_id}: {said}")
        logs = run.logs
        if node_id not in logs:
            return self._no_log(f"Failed to read logs for run {run_id}: pod not found.")
        return logs[node_id].encode()

    def _no_log(self, message: str) -> bytes:
        content = {"error_message": message, "error_details": f"{message}\nmain.main\n\t:1"}
        if self.log_errors_status == 200:
            return json.dumps(content).encode()
        answered = _Answered(self.log_errors_status, message)
        answered.content = content
        raise answered

    def _run(self, run_id: str) -> ServedRun:
        if run_id not in self.runs:
            raise _Answered(404, f"ResourceNotFoundError: Run {run_id} not found.", 5)
        run = self.runs[run_id]
        if self._execution is not None:
            self._execution.refresh(run)
        return run

    def _in(self, run: ServedRun, query: dict[str, str]) -> bool:
        experiment = self.experiments[run.fields["experiment_id"]]
        wanted = query.get("experiment_id")
        namespace = query.get("namespace", "") if self.multi_user else ""
        placed = not wanted or wanted == experiment["experiment_id"]
        return placed and namespace in ("", experiment["namespace"]) and _named(run.fields, query)

    def _listed(self, experiment: dict[str, Any], query: dict[str, str]) -> bool:
        namespace = query.get("namespace", "")
        if self.multi_user and not namespace:
            raise _Answered(400, "Invalid input error: a namespace is needed.", 3)
        return namespace in ("", experiment["namespace"]) and _named(experiment, query)


def _named(fields: dict[str, Any], query: dict[str, str]) -> bool:
    wanted = json.loads(query.get("filter") or "{}")
    check(wanted, "V2beta1Filter")
    for predicate in wanted.get("predicates", []):
        if predicate["operation"] != "EQUALS" or predicate["key"] != "display_name":
            raise Breach(f"the tests' server has no predicate {predicate}")
        if fields["display_name"] != predicate["string_value"]:
            return False
    return True


@contextmanager
def kfp_server(
    execution: Execution | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[KfpServer]:
    """A server while the block runs; afterwards nobody may have broken the contract.

    Args:
        execution: really runs what is posted.
        tls: with which it is https://localhost.
    """
    server = KfpServer(execution)
    with serving(server.answer, tls=tls) as web:
        server.port = web.server_port
        if tls is not None:
            server.scheme, server.host = "https", "localhost"
        try:
            yield server
        finally:
            server.close()
    assert server.breaches == []
