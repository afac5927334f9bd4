"""Runs a compiled pipeline on this machine: ``python -m pipelines.local YAML ARGUMENTS WORK``.

A process of its own, because KFP's local runner is configured once for a whole process
and runs its steps one by one until the end.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def start_local(
    pipeline: Path, arguments: dict[str, Any], work: Path, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a compiled pipeline in a process of its own, in the caller's process group.

    Args:
        pipeline: the compiled YAML.
        arguments: the pipeline's parameters.
        work: the folder for the pipeline root; made if missing.
        environment: the whole of the process's, the steps' Settings included.
        log: takes what the steps print.

    Returns:
        The process; it ends with 0 when every step has succeeded.
    """
    work.mkdir(parents=True, exist_ok=True)
    values = work / "arguments.json"
    values.write_text(json.dumps(arguments), encoding="utf-8")
    argv = [sys.executable, "-m", "pipelines.local", str(pipeline), str(values), str(work)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def stop_local(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End a pipeline and every step it started, at first politely."""
    import psutil

    try:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, patience)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _run(pipeline: Path, arguments: Path, work: Path) -> None:
    from kfp import components, local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(work / "artifacts"),
        workspace_root=str(work / "workspace"),
    )
    run = components.load_component_from_file(str(pipeline))
    run(**json.loads(arguments.read_text(encoding="utf-8")))


if __name__ == "__main__":
    _run(*(Path(argument) for argument in sys.argv[1:4]))
