"""The steps of a run on this machine as containers, by ``kfp.local.DockerRunner``."""

import contextlib
import os
import sys
import traceback
from http import HTTPStatus
from typing import Any

from components.errors import BadInput, NotFound, Unavailable
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
    from kfp.local import DockerRunner, docker_task_handler

    docker_task_handler.run_docker_container = _run_container
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


def _run_container(
    client: Any, image: str, command: list[str], volumes: dict[str, Any], **options: Any
) -> int:
    """Run a step's container to its end, print what it prints and return how it ended.

    It stands in for KFP's own function, which lets Docker remove a container as soon as it
    has ended, and takes one that is gone before it was asked about for a success: on a busy
    machine 3 of 40 failures were.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except APIError as error:
            # As a step would say it: KFP fails the task, and runs the exit handler.
            fault = NotFound(
                f"There is no image {image}, and it cannot be fetched: mend "
                "ACTVERSE_IMAGE_REPOSITORY or ACTVERSE_IMAGE_TAG, or build it by make images "
                f"({error.explanation or error})."
            )
            sys.stdout.writelines(traceback.format_exception_only(fault))
            return 1
    container = client.containers.run(image, command, detach=True, volumes=volumes, **options)
    try:
        for chunk in container.logs(stream=True):
            sys.stdout.write(chunk.decode(errors="replace"))
        return int(container.wait()["StatusCode"])
    finally:
        _remove(container)


def _remove(container: Any) -> None:
    """End a container, if it runs, and remove it; whoever else does so at the same time."""
    from docker.errors import APIError

    try:
        container.remove(force=True)
    except APIError as error:
        if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise


def end_containers(run: str) -> None:
    """End the containers of a run: they are no children of its process.

    Raises:
        Unavailable: if Docker does not answer.
    """
    import docker
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.from_env()) as client:
            ours = {"label": f"{_LABEL}={run}"}
            for container in client.containers.list(all=True, filters=ours):
                _remove(container)
    except DockerException as error:
        raise Unavailable(f"Docker does not answer, to end the run {run}: {error}.") from error
