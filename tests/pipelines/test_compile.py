"""The compiled pipelines."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actverse.cli import cli
from components.errors import BadInput
from components.settings import Settings
from pipelines import TRAINING_STEPS
from pipelines.backend import PipelineName
from pipelines.compile import compile_pipeline
from pipelines.spec_tasks import read_tasks
from tests.helpers.pipeline_rules import faults_of, read_documents

NAMES = ("training", "analysis")

_COMPILE = """
import sys
from pathlib import Path
from components.settings import Settings
from pipelines.compile import compile_pipeline
for name in ("analysis", "training"):
    compile_pipeline(name, Path(sys.argv[1]) / f"{name}.yaml", Settings())
"""


def test_the_bytes_do_not_depend_on_the_process_its_folder_or_its_secrets(tmp_path: Path):
    found: dict[str, set[bytes]] = {name: set() for name in NAMES}
    for seed in ("0", "12345"):
        folder = tmp_path / seed
        folder.mkdir()
        variables = {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "ACTVERSE_HOME": str(folder),
            "ACTVERSE_PIPELINE_SECRET": f"the word of {seed}",
            "ACTVERSE_GATEWAY_URI": f"http://gateway-{seed}",
        }
        subprocess.run(
            [sys.executable, "-c", _COMPILE, str(folder)],
            env=os.environ | variables,
            cwd=folder,
            check=True,
        )
        for name in NAMES:
            found[name].add((folder / f"{name}.yaml").read_bytes())
    for name, contents in found.items():
        assert len(contents) == 1
        target = tmp_path / "by_hand.yaml"
        answer = CliRunner().invoke(cli, ["pipeline", "compile", name, "-o", str(target)])
        assert answer.exit_code == 0
        contents.add(target.read_bytes())
        assert len(contents) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stands_in_them_that_goes_wrong_somewhere(name: PipelineName, tmp_path: Path):
    settings = Settings(home=tmp_path, pipeline_secret="the word of the pipelines")
    target = compile_pipeline(name, tmp_path / "a.yaml", settings)
    assert faults_of(read_documents(target)) == []
    text = target.read_text()
    assert "the word of" not in text
    assert str(tmp_path) not in text


def test_the_training_has_each_step_and_the_exit_handler(tmp_path: Path):
    target = compile_pipeline("training", tmp_path / "a.yaml", Settings())
    assert set(read_tasks(target)) == {*TRAINING_STEPS, "run-end"}


@pytest.mark.parametrize("tag", ["", "latest", "a b", "-1"])
def test_images_without_a_version_are_refused(tag: str, tmp_path: Path):
    settings = Settings().model_copy(update={"image_tag": tag})
    with pytest.raises(BadInput, match="image tag"):
        compile_pipeline("training", tmp_path / "a.yaml", settings)
    assert list(tmp_path.iterdir()) == []


def test_another_pipeline_is_not_known(tmp_path: Path):
    unknown: Any = "labelling"
    with pytest.raises(BadInput, match="training, analysis"):
        compile_pipeline(unknown, tmp_path / "a.yaml", Settings())
