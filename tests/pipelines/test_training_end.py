"""The exit handler of the compiled training pipeline, run by KFP's local runner."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from components.settings import Settings
from components.steps import read_reports
from gateway.webhook import PIPELINES, verify_delivery
from pipelines.compile import compile_pipeline
from pipelines.local import start_local
from tests.helpers.web import body, serving

SECRET = "the word of the pipelines"
ARGUMENTS = {
    "task_id": "task-1",
    "model_name": "mice",
    "labels": '{"names": ["mouse"]}',
    "training": "{}",
}


def test_a_step_that_fails_is_told_to_the_gateway_in_its_own_words(tmp_path: Path):
    settings = Settings(home=tmp_path, pipeline_retries=0)
    layout = settings.layout
    for folder in (layout.labels("task-1"), layout.frames("task-1")):
        folder.mkdir(parents=True)
    came: list[tuple[dict[str, str], bytes]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        came.append((headers, handler.content))  # type: ignore[attr-defined]
        body(b"", 202)(handler)

    yaml = compile_pipeline("training", tmp_path / "training.yaml", settings)
    with serving(answer) as gateway:
        environment = settings.environment(secrets=False) | {
            "ACTVERSE_GATEWAY_URI": f"http://127.0.0.1:{gateway.server_port}",
            "ACTVERSE_PIPELINE_SECRET": SECRET,
        }
        process = start_local(yaml, ARGUMENTS, tmp_path / "run", environment, tmp_path / "log")
        assert process.wait(120) != 0, "the handler does not hide the failure"

    [(headers, content)] = came
    assert verify_delivery(headers, content, SECRET, PIPELINES)
    told = json.loads(content)
    assert (told["pipeline"], told["task_id"], told["state"]) == ("training", "task-1", "FAILED")
    assert told["run"]
    assert "There are no images in" in told["error"]
    [report] = read_reports(layout.step_reports("task-1"))
    assert (report.step, report.state, report.error) == ("dataset", "failed", told["error"])
    assert SECRET not in (tmp_path / "log").read_text()
