"""What the images are made of: versions that the tests ran with, and nothing unnamed."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from components.settings import Settings

ROOT = Path(__file__).parents[2]
REQUIREMENT = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+)", re.MULTILINE)


def locked(name: str) -> set[tuple[str, str]]:
    return set(REQUIREMENT.findall((ROOT / "requirements" / f"{name}.txt").read_text()))


def test_the_images_have_the_versions_that_the_tests_ran_with():
    light, trainer, tested = locked("light"), locked("trainer"), locked("dev")
    assert {"kfp", "mlflow", "celery", "onnxruntime", "pycocotools"} <= {n for n, _ in light}
    assert {"torch", "ultralytics"} <= {name for name, _ in trainer - light}
    # uv's sync would take from trainer what light has and trainer's list has not.
    assert light < trainer < tested
    assert locked("build") < tested


def test_every_locked_package_has_a_hash():
    for name in ("light", "trainer", "build"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        blocks = re.split(r"\n(?=\S)", text)
        without = [block.split()[0] for block in blocks if "--hash=sha256:" not in block]
        assert without == []


def test_an_images_tag_is_the_projects_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert Settings.model_fields["image_tag"].default == version


@pytest.mark.parametrize("tag", ["latest", ""])
def test_no_image_is_built_without_a_version(tag: str):
    made = subprocess.run(
        ["make", "images", f"IMAGE_TAG={tag}", "DOCKER=false"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 2
    assert "never latest" in made.stderr
