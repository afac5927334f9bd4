"""A version's way into service: real Triton, real registry, small real models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.serving.promote import Promoter
from components.settings import Settings
from tests.helpers.exports import register, write_export
from tests.helpers.servers import TritonServer


@pytest.fixture
def settings(triton: TritonServer, mlflow_server: str) -> Settings:
    return triton.settings.model_copy(update={"mlflow_uri": mlflow_server})


@pytest.fixture
def promoter(settings: Settings) -> Promoter:
    return Promoter(settings)


@pytest.fixture
def registered(mlflow_server: str, tmp_path: Path) -> Callable[..., int]:
    """Registers the tiny model of a seed, changed by ``spoil(export)`` if that is given."""

    def make(
        name: str, seed: int, spoil: Callable[[Path], object] | None = None, **facts: str
    ) -> int:
        export = write_export(tmp_path / f"export_{seed}", seed=seed, **facts)
        if spoil is not None:
            spoil(export)
        return register(export, name, mlflow_server)

    return make
