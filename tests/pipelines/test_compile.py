"""The compiled training pipeline."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from actverse.cli import cli
from components.settings import Settings
from pipelines import TRAINING_STEPS
from pipelines.compile import compile_pipeline


def test_compiling_gives_the_same_bytes_each_time(tmp_path: Path):
    first = compile_pipeline("training", tmp_path / "a.yaml", Settings()).read_bytes()
    target = str(tmp_path / "b.yaml")
    answer = CliRunner().invoke(cli, ["pipeline", "compile", "training", "-o", target])
    assert answer.exit_code == 0
    assert (tmp_path / "b.yaml").read_bytes() == first


def test_the_yaml_has_every_step_and_installs_nothing(tmp_path: Path):
    text = compile_pipeline("training", tmp_path / "a.yaml", Settings()).read_text()
    spec = next(yaml.safe_load_all(text))
    executors = spec["deploymentSpec"]["executors"]
    assert {name.removeprefix("exec-") for name in executors} == {*TRAINING_STEPS, "run-end"}
    assert "pip install" not in text
    assert all(":latest" not in e["container"]["image"] for e in executors.values())
