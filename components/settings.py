"""The one Settings class: read once from the environment, then passed on."""

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.layout import Layout


class Settings(BaseSettings):
    """Everything that differs between two installations.

    Each field is read from ``ACTVERSE_<NAME>``. Paths are made absolute, so a child
    process in another folder reads the same.
    """

    model_config = SettingsConfigDict(env_prefix="ACTVERSE_", extra="ignore")

    home: Path = Field(Path(".actverse"), description="database, logs, secrets, storage")
    root: Path | None = Field(None, description="the storage's root; default: home/storage")
    database_url: str = Field("", description="SQLAlchemy URL; default: SQLite in home")

    host: str = Field("127.0.0.1", description="the address that every server listens on")
    gateway_port: int = Field(0, ge=0, le=65535, description="0 takes a free port")
    mlflow_port: int = Field(0, ge=0, le=65535)
    triton_http_port: int = Field(0, ge=0, le=65535)
    triton_grpc_port: int = Field(0, ge=0, le=65535)
    triton_metrics_port: int = Field(0, ge=0, le=65535)

    gateway_uri: str = Field("", description="http://host:port of the gateway")
    mlflow_uri: str = Field("", description="http://host:port of the tracking server")
    triton_url: str = Field("", description="host:port of Triton's gRPC service")
    triton_shared_memory: bool = Field(
        True, description="send frames by system shared memory where Triton is on this host"
    )
    triton_env: Path = Field(
        Path(sys.prefix).parent / ".venv-triton", description="the environment Triton runs in"
    )
    triton_threads: int = Field(2, ge=1, description="intra-op threads of a served model")
    triton_accelerator: Literal["", "openvino"] = Field(
        "", description="execution accelerator asked for in a served model's config.pbtxt"
    )

    api_key_secret: SecretStr = Field(SecretStr(""), description="keys the hashes of API keys")
    webhook_secret: SecretStr = Field(SecretStr(""), description="signs the registry's webhook")

    champion_alias: str = "champion"
    reconcile_seconds: float = Field(3.0, gt=0)
    lease_seconds: float = Field(30.0, gt=0)
    promotion_timeout: float = Field(120.0, gt=0, description="seconds a deployment may take")

    max_video_bytes: int = Field(20 * 2**30, gt=0)
    download_timeout: float = Field(3600.0, gt=0, description="seconds a download may take")
    allow_private_urls: bool = Field(
        False, description="lets URLs that reach private addresses through the outbound guard"
    )

    pipeline_image: str = Field(
        "actverse/trainer:0.1.0", description="the image that the pipelines' components name"
    )

    def model_post_init(self, context: object) -> None:
        self.home = self.home.expanduser().absolute()
        self.root = (self.root or self.home / "storage").expanduser().absolute()
        self.triton_env = self.triton_env.expanduser().absolute()
        self.database_url = self.database_url or f"sqlite:///{self.home / 'actverse.db'}"

    @cached_property
    def layout(self) -> Layout:
        """The folders below the storage's root."""
        assert self.root is not None
        return Layout(self.root)

    def environment(self, *, secrets: bool) -> dict[str, str]:
        """This process's environment with these settings, for a child process.

        Args:
            secrets: hand the secrets on; a process that needs none is given none.
        """
        variables = dict(os.environ)
        for name in type(self).model_fields:
            value, variable = getattr(self, name), f"ACTVERSE_{name.upper()}"
            if not isinstance(value, SecretStr):
                variables[variable] = str(value)
            elif secrets:
                variables[variable] = value.get_secret_value()
            else:
                variables.pop(variable, None)
        return variables
