"""The steps of a run on this machine as containers, by ``kfp.local.DockerRunner``."""

import contextlib
import os
from typing import Any

from components.errors import BadInput, Unavailable
from components.settings import Settings

_LABEL = "actverse.run"
_GIVEN = ("ACTVERSE_", "AWS_", "MLFLOW_")


def docker_runner(settings: Settings, run: str) -> Any:
    """Runs each step in its image, as this user, with this machine's network and our folders.

    Args:
        run: the run's name; its containers bear it.

    Raises:
        BadInput: if the library that talks to Docker is not installed.
    """
    try:
        from docker.types import Mount
    except ImportError as error:
        raise BadInput(
            "ACTVERSE_PIPELINE_RUNNER is docker, which needs the Python package docker: install "
            "it, or take subprocess."
        ) from error
    from kfp.local import DockerRunner

    folders = {settings.home, settings.layout.root}
    for folder in folders:
        # Docker would make it root's.
        folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name.startswith(_GIVEN)}
    return DockerRunner(
        # What a step writes here is this user's, whoever the image is made for.
        user=f"{os.getuid()}:{os.getgid()}",
        network_mode="host",
        mounts=[Mount(str(folder), str(folder), type="bind") for folder in sorted(folders)],
        # The image's own home is another user's.
        environment={**environment, "HOME": str(settings.home)},
        labels={_LABEL: run},
    )


def end_containers(run: str) -> None:
    """End the containers of a run: they are no children of its process.

    Raises:
        Unavailable: if Docker does not answer.
    """
    import docker
    from docker.errors import DockerException, NotFound

    try:
        with contextlib.closing(docker.from_env()) as client:
            for container in client.containers.list(filters={"label": f"{_LABEL}={run}"}):
                # It may have ended meanwhile.
                with contextlib.suppress(NotFound):
                    container.kill()
    except DockerException as error:
        raise Unavailable(f"Docker does not answer, to end the run {run}: {error}.") from error
