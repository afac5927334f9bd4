"""A pipeline of three small real steps, in place of one that trains for minutes."""

from pathlib import Path

from kfp import compiler, dsl

from components.files import whole_file


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def greet(name: str) -> str:
    """Say whom it greets."""
    import logging
    import os

    logging.warning("hello %s", name)
    held = [n for n in ("ACTVERSE_API_KEY_SECRET", "AWS_SECRET_ACCESS_KEY") if os.environ.get(n)]
    logging.warning("secrets: %s, root: %s", held, os.environ["ACTVERSE_ROOT"])
    return name


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait_for(name: str, gate: str) -> str:
    """Wait until a file ``gate`` is there; empty: do not wait."""
    import logging
    import time
    from pathlib import Path

    logging.warning("waiting")
    while gate and not Path(gate).exists():
        time.sleep(0.02)
    return name


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def check(name: str) -> str:
    """Refuse the name bad, and break on worse."""
    from components.errors import BadInput

    if name == "bad":
        raise BadInput("The name bad cannot be used: take another.")
    if name == "worse":
        raise KeyError("worse")
    return name


@dsl.pipeline(name="actverse-training")
def tiny_pipeline(name: str, gate: str = "", times: int = 1) -> None:
    """Greet, wait, check."""
    greeted = greet(name=name).set_display_name("Greet").set_caching_options(False)
    waited = wait_for(name=greeted.output, gate=gate).set_display_name("Wait")
    waited.set_caching_options(False)
    check(name=waited.output).set_display_name("Check")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def meet(name: str, folder: str) -> None:
    """Wait for the others, so that all turns of a loop are printing at the same time."""
    import logging
    import time
    from pathlib import Path

    (Path(folder) / name).touch()
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.02)
    for _ in range(50):
        logging.warning("here is %s", name)


@dsl.pipeline(name="actverse-analysis")
def loop_pipeline(names: list, folder: str) -> None:  # type: ignore[type-arg]
    """Two turns of a loop side by side."""
    with dsl.ParallelFor(names, parallelism=2) as name:
        meet(name=name, folder=folder).set_display_name("Meet").set_caching_options(False)


def compile_loop(name: object, target: Path, settings: object) -> Path:
    """In the place of ``compile_pipeline``."""
    with whole_file(target) as beside:
        compiler.Compiler().compile(loop_pipeline, str(beside))
    return target


def compile_tiny(name: object, target: Path, settings: object) -> Path:
    """In the place of ``compile_pipeline``."""
    with whole_file(target) as beside:
        compiler.Compiler().compile(tiny_pipeline, str(beside))
    return target
