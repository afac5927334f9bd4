"""Runs a compiled pipeline on this machine: ``python -m pipelines.local YAML ARGUMENTS WORK``.

A process of its own, because KFP's local runner is configured once for a whole process
and runs its steps one by one until the end.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.backend import RunState
from pipelines.run_folder import RunFolder, RunProcess


def start_local(
    pipeline: Path,
    arguments: dict[str, Any],
    work: Path,
    environment: dict[str, str],
    log: Path,
    *,
    own_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a compiled pipeline in a process of its own.

    Args:
        pipeline: the compiled YAML.
        arguments: the pipeline's parameters.
        work: the run's folder, with the pipeline root in it; made if missing.
        environment: the whole of the process's, the steps' Settings included.
        log: takes what the steps print.
        own_session: let it outlive the caller and its terminal; else it is in the caller's
            process group, and ends with that.

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
            start_new_session=own_session,
        )


def end_tree(pid: int, patience: float = 10.0) -> None:
    """End a process and all that it has started, at first politely."""
    import psutil

    try:
        family = [psutil.Process(pid)]
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
    psutil.wait_procs(alive, patience)


def end_strays(work: Path) -> None:
    """End the steps that a run whose process was killed has left running."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        step = any("kfp.dsl.executor_main" in word for word in words)
        if step and any(f"{work}/" in word for word in words):
            end_tree(process.pid)


def _run(pipeline: Path, arguments: Path, work: Path) -> int:
    from kfp import components, local

    from components.settings import Settings
    from pipelines.local_docker import docker_runner, end_containers
    from pipelines.local_recorder import LocalRecorder

    folder, settings = RunFolder(work), Settings()
    folder.write_process(RunProcess.of(os.getpid()))
    if settings.pipeline_runner == "docker":
        runner = docker_runner(settings, work.name)

        def end(*_: object) -> None:
            end_containers(work.name)
            os._exit(128 + signal.SIGTERM)

        signal.signal(signal.SIGTERM, end)
    else:
        runner = local.SubprocessRunner(use_venv=False)
    local.init(
        runner=runner,
        pipeline_root=str(work / "artifacts"),
        workspace_root=str(work / "workspace"),
    )
    run = components.load_component_from_file(str(pipeline))
    recorder = LocalRecorder(folder)
    error = ""
    try:
        with recorder.recording():
            run(**json.loads(arguments.read_text(encoding="utf-8")))
    except BaseException as fault:
        # The log has all of it; the record says it in a sentence to whoever watches. An
        # interrupted run is no success either.
        error = next((task.error for task in recorder.failed), "")
        error = error or f"The pipeline broke: {type(fault).__name__}: {fault}"
        raise
    finally:
        folder.remove_temporary()
        folder.write_end(RunState.FAILED if error else RunState.SUCCEEDED, error)
    return 0


if __name__ == "__main__":
    sys.exit(_run(*(Path(argument) for argument in sys.argv[1:4])))
