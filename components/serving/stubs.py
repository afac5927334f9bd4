"""The processes in which a Triton of this machine runs a model, where that does not end them.

Triton unloads a model once its requests are answered. One that is never answered keeps its
process, which computes on.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress

import psutil

_log = logging.getLogger(__name__)

_STUB = "triton_python_backend_stub"


def end_stubs(url: str, model: str) -> list[int]:
    """Kill the processes of a model that is not to be served any more.

    Only those whose parent is the Triton that this project has started here on the port of
    ``url``: one in a container or on another machine is left to those who started it.

    Args:
        url: host:port of Triton's gRPC service.
        model: its name in Triton's repository.

    Returns:
        Their process ids.
    """
    ended = []
    for process in _stubs(url.rpartition(":")[2], model):
        with suppress(psutil.NoSuchProcess):
            _log.warning("the process %d of %s is ended", process.pid, model)
            process.kill()
            ended.append(process.pid)
    return ended


def _stubs(port: str, model: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            argv = process.cmdline()
            if not argv or not argv[0].endswith(_STUB):
                continue
            # Triton calls an instance MODEL_GROUP_INSTANCE.
            ours = any(argument.rpartition("_")[0] == f"{model}_0" for argument in argv)
            parent = process.parent()
            if ours and parent is not None and f"--grpc-port={port}" in parent.cmdline():
                yield process
