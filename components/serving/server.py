"""How the real Triton server of the wheel ``nvidia-pytriton`` is started, without a container.

The wheel carries ``tritonserver`` and its Python backend only. The folder ``backend/``
beside this file adds one named ``onnxruntime`` through Triton's own feature, Python-based
backends (https://github.com/triton-inference-server/python_backend#python-based-backends).
Triton and its stubs run in an environment of their own, with numpy 1.26: numpy 2 corrupts
tensors in the stub without an error.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from components.errors import NotFound, Unavailable
from components.files import whole_folder
from components.serving.control import CONTROL_HEADER, TritonControl
from components.serving.repository import ModelRepository
from components.serving.repository_address import repository_address, repository_environment
from components.settings import Settings

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory

# What Triton's process may see of ours: no secrets, nothing of our own interpreter.
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")

_ASK = """
import importlib.util, json, sys, sysconfig
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "lib": sysconfig.get_config_var("LIBDIR"),
    "pytriton": importlib.util.find_spec("pytriton").submodule_search_locations[0],
}))
"""


@dataclass(frozen=True)
class Launch:
    """What starts a process.

    Attributes:
        argv: program and arguments.
        env: the whole environment of the process.
        shared_memory_prefix: names what the process leaves in shared memory when it is
            killed; give it to ``remove_shared_memory`` after its end.
    """

    argv: list[str]
    env: dict[str, str]
    shared_memory_prefix: str


def triton_launch(
    settings: Settings, *, http_port: int, grpc_port: int, metrics_port: int, work: Path
) -> Launch:
    """Prepare Triton in explicit model-control mode over the storage's ``models/``.

    It starts with no model loaded; the reconciler loads what the registry wants served.
    Where the storage is S3, it is given the credentials of this process. With
    ``settings.triton_control_key`` it lets only those who have it load and unload; who may
    see the process list of this machine sees the key there.

    Args:
        settings: ``host``, ``triton_env``, the storage and the key are read.
        http_port, grpc_port, metrics_port: free ports on ``settings.host``.
        work: a folder of this server's own; ``backends/`` is written there.

    Raises:
        NotFound: if Triton's environment is missing or incomplete.
        BadInput: if Triton cannot read such a storage.
        Unavailable: if the storage does not answer.
    """
    python = settings.triton_env / "bin" / "python3"
    found = _ask(python)
    server = Path(found["pytriton"]) / "tritonserver"
    stub = server / "python_backend_stubs" / found["version"] / "triton_python_backend_stub"
    for needed in (server / "bin" / "tritonserver", stub):
        if not needed.exists():
            raise NotFound(f"Triton's {needed} is missing: run `make setup` again.")
    if not list(Path(found["lib"]).glob(f"libpython{found['version']}.so*")):
        raise NotFound(
            f"Triton needs libpython{found['version']}.so, which is not in {found['lib']}: "
            "install Python's shared library and run `make setup` again."
        )
    backends = work / "backends"
    _write_backends(backends, server, stub)
    repository = repository_address(settings)
    ModelRepository(settings).prepare()
    prefix = f"actverse_{grpc_port}_{os.getpid()}_"
    argv = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=explicit",
        # Our configs are complete: a load takes 0.2 s instead of 1.4 s.
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--http-address={settings.host}",
        f"--http-port={http_port}",
        f"--grpc-address={settings.host}",
        f"--grpc-port={grpc_port}",
        f"--metrics-address={settings.host}",
        f"--metrics-port={metrics_port}",
        "--allow-gpu-metrics=false",
        "--http-thread-count=2",
        "--pinned-memory-pool-byte-size=0",
        "--exit-timeout-secs=3",
        "--log-verbose=0",
        *restrictions(settings.triton_control_key.get_secret_value(), same_host=True),
    ]
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= repository_environment(settings)
    # The stub takes its environment from the first python3 on PATH and ignores PYTHONPATH.
    env["PATH"] = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    libraries = Path(found["pytriton"]).parent / "nvidia_pytriton.libs"
    env["LD_LIBRARY_PATH"] = f"{libraries}:{found['lib']}"
    return Launch(argv, env, prefix)


def restrictions(key: str, *, same_host: bool) -> list[str]:
    """Triton's options by which loading, unloading and what else changes it need ``key``.

    Left open is what our clients use without a key: inference, health, metadata,
    model-config (a version's card is in it) and statistics (what is served).

    Args:
        key: what to ask for; with an empty one nothing is restricted.
        same_host: whether clients hand frames over by shared memory, over gRPC.
    """
    if not key:
        return []
    http = ["model-repository", "shared-memory", "trace", "logging"]
    grpc = [name for name in http if not (same_host and name == "shared-memory")]
    return [
        f"--grpc-restricted-protocol={','.join(grpc)}:{CONTROL_HEADER}={key}",
        f"--http-restricted-api={','.join(http)}:{CONTROL_HEADER}={key}",
    ]


def _ask(python: Path) -> dict[str, str]:
    """Triton's environment's own account of its version and folders."""
    try:
        answer = subprocess.run(
            [python, "-I", "-c", _ASK], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotFound(
            f"Triton's environment {python.parent.parent} is missing or broken: run `make setup`."
        ) from error
    return json.loads(answer.stdout)


def _write_backends(backends: Path, server: Path, stub: Path) -> None:
    """Lay out Triton's backend directory: the wheel's Python backend, and ours upon it."""
    with whole_folder(backends) as beside:
        shutil.copytree(server / "backends" / "python", beside / "python")
        shutil.copy2(stub, beside / "python")
        ours = Path(__file__).parent / "backend"
        shutil.copytree(
            ours, beside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )


def remove_shared_memory(prefix: str) -> list[str]:
    """Remove what a killed Triton left in shared memory; return the names.

    Only after the end of that Triton and its stubs.
    """
    left = [path for path in SHARED_MEMORY.glob(f"{prefix}*") if prefix]
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def triton_ready(url: str, timeout: float = 2.0) -> bool:
    """Whether Triton really answers over gRPC and can say what it serves.

    Args:
        url: host:port of its gRPC service.
        timeout: seconds.
    """
    try:
        with TritonControl(url, timeout=timeout) as triton:
            triton.served()
    except Unavailable:
        return False
    return True
