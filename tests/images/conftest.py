"""A real Docker engine with the images of this tree: ``make images`` builds them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image

from components.settings import Settings


@dataclass(frozen=True)
class Engine:
    """An engine; ``run`` gives a container nothing but what an image needs at the least."""

    client: docker.DockerClient
    settings: Settings

    def image(self, family: str) -> Image:
        return self.client.images.get(getattr(self.settings, f"{family}_image"))

    def run(self, family: str, *command: str, **options: Any) -> str:
        """What a command prints, as the image's user, on a root that cannot be written to.

        Raises:
            ContainerError: with its stderr, if it fails.
        """
        given = {
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {"/tmp": "", "/var/lib/actverse": "uid=10001"},
            **options,
        }
        output = self.client.containers.run(self.image(family), list(command), remove=True, **given)
        return output.decode()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    settings = Settings()
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers (manifests/images/engine.sh up): {error}")
    with closing(client):
        for name in (settings.light_image, settings.trainer_image):
            try:
                client.images.get(name)
            except ImageNotFound:
                pytest.skip(f"the engine has no image {name}: make images")
        yield Engine(client, settings)
