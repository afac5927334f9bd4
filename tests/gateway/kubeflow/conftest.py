"""Tasks whose trainings run on a Kubeflow Pipelines of the tests' own."""

from collections.abc import Iterator

import pytest

from components.settings import Settings
from gateway.database import Sessions
from tests.helpers.kfp_server import KfpServer, kfp_server
from tests.helpers.training_lab import TrainingLab


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with kfp_server() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, kfp: KfpServer) -> Settings:
    changed = {"kfp_endpoint": kfp.url, "kfp_poll_seconds": 0.1}
    return settings.model_copy(update=changed)


@pytest.fixture
def lab(settings: Settings, sessions: Sessions, kfp: KfpServer) -> TrainingLab:
    return TrainingLab(settings, sessions, kfp)
