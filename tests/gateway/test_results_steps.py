"""The step that ends the results of an analysis."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from components.layout import Layout
from gateway.steps.context import StepContext
from gateway.steps.results import settle


def test_what_a_killed_part_has_left_half_written_is_removed(tmp_path: Path):
    layout = Layout(tmp_path)
    folder = layout.results("t-0123456789ab")
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("frame\n")
    (folder / ".overlaid_results.cd60dec4.mp4").write_bytes(b"half")
    facts: dict[str, Any] = {
        part: {"file": f"results.{part}"} for part in ("csv", "json", "overlay", "notebook")
    }
    facts["chunks"] = {"chunks": 1}
    context = SimpleNamespace(layout=layout, task_id="t-0123456789ab", facts=facts)
    assert settle(cast(StepContext, context))["chunks"] == 1
    assert [path.name for path in folder.iterdir()] == ["results.csv"]
