"""How the real Triton server of the wheel ``nvidia-pytriton`` is started, without a container.

The wheel carries ``tritonserver`` and its Python backend only. The folder ``backend/``
beside this file adds one named ``onnxruntime``, written in Python upon the wheel's library
(https://github.com/triton-inference-server/python_backend#python-based-backends). That library
is given our backend's name: there is no backend ``python``, whose models bring code to run.
Triton and its stubs run in an environment of their own, with numpy 1.26: numpy 2 corrupts
tensors in the stub without an error.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from components.errors import NotFound, Unavailable
from components.files import whole_folder
from components.serving.control import CONTROL_HEADER, TritonControl
from components.serving.leftovers import SHARED_MEMORY, remove_shared_memory
from components.serving.private_start import PLACEHOLDER
from components.serving.repository import ModelRepository
from components.serving.repository_address import repository_address, repository_environment
from components.settings import Settings

__all__ = [
    "SHARED_MEMORY",
    "Launch",
    "remove_shared_memory",
    "restrictions",
    "triton_launch",
    "triton_ready",
]

_BACKEND = "onnxruntime"

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
    settings: Settings,
    *,
    http_port: int | None = None,
    grpc_port: int,
    metrics_port: int,
    work: Path,
) -> Launch:
    """Prepare Triton in explicit model-control mode over the storage's ``models/``.

    It starts with no model loaded; the reconciler loads what the registry wants served.
    Where the storage is S3, it is given the credentials of this process. With
    ``settings.triton_control_key`` it lets only those who have it load, unload and change
    anything else; the key is in no process list.

    Args:
        settings: ``host``, ``triton_env``, the storage and the key are read.
        http_port, grpc_port, metrics_port: free ports on ``settings.host``. Without an
            ``http_port`` it does not listen for HTTP, which a page in a browser could speak.
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
        f"--backend-config={_BACKEND},shm-region-prefix-name={prefix}",
        *_http_options(settings, http_port),
        f"--grpc-address={settings.host}",
        f"--grpc-port={grpc_port}",
        f"--metrics-address={settings.host}",
        f"--metrics-port={metrics_port}",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        "--exit-timeout-secs=3",
        "--log-verbose=0",
    ]
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= repository_environment(settings)
    # The stub takes its environment from the first python3 on PATH and ignores PYTHONPATH.
    env["PATH"] = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    libraries = Path(found["pytriton"]).parent / "nvidia_pytriton.libs"
    env["LD_LIBRARY_PATH"] = f"{libraries}:{found['lib']}"
    # Its stubs import nothing of ours.
    env["ORT_DISABLE_TELEMETRY"] = "1"
    hidden = restrictions(settings.triton_control_key.get_secret_value(), http=bool(http_port))
    argv = [*_PRIVATELY, *argv, *(f"{PLACEHOLDER}{name}" for name in hidden)]
    return Launch(argv, env | hidden, prefix)


_PRIVATELY = (
    *(sys.executable, "-I", "-S"),
    str(Path(__file__).with_name("private_start.py")),
)


def _http_options(settings: Settings, port: int | None) -> list[str]:
    if port is None:
        return ["--allow-http=false"]
    return [
        f"--http-address={settings.host}",
        f"--http-port={port}",
        "--http-thread-count=2",
    ]


def restrictions(key: str, *, http: bool) -> dict[str, str]:
    """Triton's options by which loading, unloading and what else changes it need ``key``.

    Left open is what anybody's client may use: inference, health, metadata, model-config (a
    version's card is in it) and statistics (what is served). A client without the key sends its
    frames over the connection, since shared memory of others could be read through Triton.

    Args:
        key: what to ask for; with an empty one nothing is restricted.
        http: whether Triton listens for HTTP too.

    Returns:
        The options by the environment variables from which they are taken.
    """
    if not key:
        return {}
    asked = f"model-repository,shared-memory,trace,logging:{CONTROL_HEADER}={key}"
    options = {"TRITON_RESTRICTED_GRPC": f"--grpc-restricted-protocol={asked}"}
    if http:
        options["TRITON_RESTRICTED_HTTP"] = f"--http-restricted-api={asked}"
    return options


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
    """Lay out Triton's backend directory: ours alone, upon the wheel's library."""
    library = server / "backends" / "python"
    with whole_folder(backends) as beside:
        ours = beside / _BACKEND
        shutil.copytree(
            Path(__file__).parent / "backend" / _BACKEND,
            ours,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        # Under this name Triton takes it for the backend's own library. As
        # python/libtriton_python.so it would serve any model that asks for "python" too.
        shutil.copy2(library / "libtriton_python.so", ours / f"libtriton_{_BACKEND}.so")
        shutil.copy2(library / "triton_python_backend_utils.py", ours)
        shutil.copy2(stub, ours)


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
