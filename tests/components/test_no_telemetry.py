"""No part reports to its maker, or leaves a name for this machine in the home folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["components.onnx_model", "components.serving.check_apart"])
def test_onnx_runtime_leaves_no_device_id(module: str, tmp_path: Path):
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)

    subprocess.run(
        [sys.executable, "-c", f"import {module}, onnxruntime"], env=environment, check=True
    )

    assert list(tmp_path.rglob("deviceid")) == []
