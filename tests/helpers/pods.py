"""A pipeline whose steps are given what a pod is given: ``python -m tests.helpers.pods YAML ROOT``.

The image's own user, a root file system that cannot be written to, no folder of this machine
but the pipeline root, no rights, and this process's variables of the ConfigMap and the Secrets.
The arguments are read from stdin.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.task_policy import (
    CONFIG_KEYS,
    OPTIONAL_CONFIG_KEYS,
    REPORT_VARIABLE,
    STORAGE_KEYS,
    USER,
)

# The MLflow of the tests' stack asks for a token, that of the manifests does not.
KEYS = (
    *CONFIG_KEYS,
    *OPTIONAL_CONFIG_KEYS,
    *STORAGE_KEYS,
    REPORT_VARIABLE,
    "MLFLOW_TRACKING_TOKEN",
)


def run_in_pods(
    yaml: Path, root: Path, arguments: dict[str, Any], variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a compiled pipeline in a process of its own; what its steps print is its stdout."""
    root.mkdir()
    # The images' user writes there.
    root.chmod(0o777)
    return subprocess.run(
        [sys.executable, "-m", "tests.helpers.pods", str(yaml), str(root)],
        input=json.dumps(arguments),
        env=os.environ | variables,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _main(yaml: str, root: str) -> None:
    from kfp import components, local

    from components.settings import Settings
    from pipelines.local_docker import docker_runner

    # For how it runs containers; all else is a pod's.
    docker_runner(Settings(home=Path(root) / "unused"), "pods")
    writable = {"/tmp": "mode=1777", "/var/lib/actverse": f"uid={USER}"}
    runner = local.DockerRunner(
        network_mode="host",
        read_only=True,
        tmpfs=writable,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        environment={name: os.environ[name] for name in KEYS if name in os.environ},
    )
    local.init(runner=runner, pipeline_root=root, workspace_root=f"{root}/workspace")
    components.load_component_from_file(yaml)(**json.load(sys.stdin))


if __name__ == "__main__":
    _main(*sys.argv[1:])
