"""The one Settings class: read once from the environment, then passed on."""

import itertools
import json
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from components.errors import BadInput
from components.layout import Layout
from components.pipeline_settings import PipelineSettings
from components.secret_rules import SHORTEST, weak_password, weak_secret

_TRACKING_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")


class Settings(PipelineSettings):
    """Everything that differs between two installations.

    Each field is read from ``ACTVERSE_<NAME>``, or else from a file of that name in the
    folder ``ACTVERSE_SECRETS_DIR``, as Docker and Kubernetes mount secrets. Paths are made
    absolute, so a child process in another folder reads the same.

    Raises:
        BadInput: in the shape ``cluster``, if a secret keeps nobody out; if the folder of
            secrets is not there.
    """

    model_config = SettingsConfigDict(
        env_prefix="ACTVERSE_",
        extra="ignore",
        # An error shows which field is wrong, never what it holds.
        hide_input_in_errors=True,
    )

    shape: Literal["embedded", "cluster"] = Field(
        "embedded", description="embedded: one machine; cluster: no secret may be weak"
    )
    secrets_dir: Path | None = Field(
        None, description="a folder with a file for each variable that is not in the environment"
    )
    without_secrets: bool = Field(
        False, description="this process needs no secret, and is given none: a pipeline's step"
    )
    home: Path = Field(Path(".actverse"), description="database, logs, secrets, storage")
    root: str = Field(
        "", description="the storage: a folder or s3://bucket/prefix; default: home/storage"
    )
    s3_endpoint: str = Field("", description="URL of an S3-compatible store; default: AWS's own")
    s3_region: str = "us-east-1"
    database_url: str = Field("", repr=False, description="SQLAlchemy URL; default: SQLite in home")
    broker_url: str = Field(
        "",
        repr=False,
        description="amqp:// or redis://; default: Celery's filesystem transport in home",
    )
    redis_url: str = Field(
        "",
        repr=False,
        description="live state and rate limits across gateways; default: the database, memory",
    )
    events_url: str = Field(
        "", repr=False, description="amqp:// of the RabbitMQ whose topic exchange takes the events"
    )
    events_exchange: str = "actverse.events"

    host: str = Field("127.0.0.1", description="the address that every server listens on")
    gateway_port: int = Field(0, ge=0, le=65535, description="0 takes a free port")
    mlflow_port: int = Field(0, ge=0, le=65535)
    triton_grpc_port: int = Field(0, ge=0, le=65535)
    triton_metrics_port: int = Field(0, ge=0, le=65535)

    gateway_uri: str = Field("", description="http://host:port of the gateway")
    mlflow_uri: str = Field("", description="http://host:port of the tracking server")
    mlflow_token: SecretStr = Field(
        SecretStr(""), description="what the tracking server asks of its clients, if anything"
    )
    mlflow_public_url: str = Field("", description="its address for people; default: mlflow_uri")
    triton_url: str = Field("", description="host:port of Triton's gRPC service")
    triton_shared_memory: bool = Field(
        True, description="send frames by system shared memory where Triton is on this host"
    )
    triton_control_key: SecretStr = Field(
        SecretStr(""),
        description="what Triton asks of who changes it or shares memory with it, if anything",
    )
    triton_env: Path = Field(
        Path(sys.prefix).parent / ".venv-triton", description="the environment Triton runs in"
    )
    triton_threads: int = Field(2, ge=1, description="intra-op threads of a served model")
    triton_device: Literal["cpu", "gpu"] = Field(
        "cpu", description="what a served model runs on; gpu needs NVIDIA's Triton"
    )
    triton_accelerator: Literal["", "openvino"] = Field(
        "", description="execution accelerator asked for in a served model's config.pbtxt"
    )

    api_key_secret: SecretStr = Field(SecretStr(""), description="keys the hashes of API keys")
    webhook_secret: SecretStr = Field(SecretStr(""), description="signs the registry's webhook")

    champion_alias: str = "champion"
    reconcile_seconds: float = Field(3.0, gt=0)
    lease_seconds: float = Field(30.0, gt=0, description="a step's worker is given up after it")
    requeue_seconds: float = Field(
        30.0, gt=0, description="a step that nobody took is queued again after it"
    )
    service_patience: float = Field(
        600.0,
        ge=0,
        description="seconds that a pipeline's step waits for MLflow, Triton or the storage",
    )
    step_timeout: float = Field(
        6 * 3600.0, gt=0, description="seconds that one attempt of a step may take"
    )
    step_memory: int = Field(
        0,
        ge=0,
        description="bytes that one step may use; 0: a share of the machine's or container's "
        "memory for each slot, 8 GiB at most",
    )
    import_timeout: float = Field(
        1200.0, gt=0, description="seconds that a step may take which runs a model somebody brings"
    )
    import_memory: int = Field(
        4 * 2**30, gt=0, description="bytes that a step may use which runs a model somebody brings"
    )
    worker_silence: float = Field(
        60.0,
        gt=0,
        description="seconds after which a worker that has done nothing, not even the errand it "
        "sends itself, no longer shows that it lives, and is restarted",
    )
    training_slots: int = Field(1, ge=1, description="trainings watched side by side")
    worker_slots: int = Field(2, ge=1, description="steps that one worker runs side by side")
    user_steps: int = Field(
        4,
        ge=1,
        description="tasks of one user that are at the workers of one queue at once, queued or "
        "running: further ones wait without keeping others waiting; no fewer than its slots",
    )
    max_open_tasks: int = Field(
        500, ge=1, description="tasks of one user that have not ended; further ones are refused"
    )
    notifications_per_hour: int = Field(
        200, ge=1, description="messages to one user's addresses; further ones are sent later"
    )
    promotion_timeout: float = Field(120.0, gt=0, description="seconds a deployment may take")
    model_answer_seconds: float = Field(
        45.0, gt=0, le=55, description="seconds that a model may take for one inference"
    )
    model_trial_seconds: float = Field(
        900.0, gt=0, description="seconds that it may take to try a model file of a user's out"
    )
    model_memory_bytes: int = Field(
        8 * 2**30,
        ge=2**30,
        description="what a model may take of the machine's memory, tried out or served",
    )
    promotion_min_gain: float = Field(
        0.0, ge=0, le=1, description="mAP50-95 by which a new model must beat the served one"
    )

    max_video_bytes: int = Field(20 * 2**30, gt=0)
    download_timeout: float = Field(3600.0, gt=0, description="seconds a download may take")
    allow_private_urls: bool = Field(
        False, description="lets URLs that reach private addresses through the outbound guard"
    )

    max_upload_bytes: int = Field(20 * 2**30, gt=0, description="the greatest file sent to us")
    max_request_bytes: int = Field(2**20, gt=0, description="the greatest body that is no upload")
    rate_limit: str = Field(
        "100/second", description="requests of one API key, as in 100/second; empty: no limit"
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may call the gateway; none by default"
    )
    log_format: Literal["json", "text"] = "json"
    log_bytes: int = Field(
        20 * 2**20,
        ge=2**16,
        description="size at which the embedded stack puts a service's log aside, as NAME.log.1; "
        "three such are left",
    )
    labeling_poll_seconds: float = Field(
        5.0, gt=0, description="between two looks at labels that are being made"
    )
    labeling_poll_max_seconds: float = Field(
        60.0, gt=0, description="between two looks where nothing has changed for long"
    )
    labeling_settle_seconds: float = Field(
        10.0, ge=0, description="complete labels count once they are unchanged for so long"
    )
    global_model: str = Field(
        "global", description="the served model that pre-annotates frames, where there is one"
    )
    label_studio_url: str = Field(
        "", description="http://host:port of Label Studio, as the workers reach it"
    )
    label_studio_public_url: str = Field(
        "", description="its address for people; default: label_studio_url"
    )
    label_studio_token: SecretStr = Field(
        SecretStr(""), description="a personal access token of Label Studio, or a legacy one"
    )
    label_studio_port: int = Field(0, ge=0, le=65535)
    label_studio_env: Path = Field(
        Path(sys.prefix).parent / ".venv-label-studio",
        description="the environment that the embedded Label Studio runs in",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given comes first, then the environment, then the files."""
        given = {**env_settings(), **init_settings()}
        folder = given.get("secrets_dir")
        if not folder:
            return init_settings, env_settings
        if not Path(folder).expanduser().is_dir():
            raise BadInput(f"There is no folder of secrets {folder}: mend ACTVERSE_SECRETS_DIR.")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, folder)

    @model_validator(mode="after")
    def _no_weak_secrets(self) -> Self:
        if self.shape == "embedded" or self.without_secrets:
            return self
        faults = []
        secrets = ["api_key_secret", "webhook_secret"]
        if self.kfp_endpoint:
            secrets.append("pipeline_secret")
        secrets += [
            name
            for name in ("triton_control_key", "mlflow_token")
            if getattr(self, name).get_secret_value()
        ]
        for name in secrets:
            if fault := weak_secret(getattr(self, name).get_secret_value()):
                faults.append(
                    f"ACTVERSE_{name.upper()} {fault}: set it to {SHORTEST} random characters "
                    "or more."
                )
        for one, other in itertools.combinations(secrets, 2) if not faults else ():
            if getattr(self, one) == getattr(self, other):
                faults.append(
                    f"ACTVERSE_{one.upper()} and ACTVERSE_{other.upper()} are the same: make each "
                    "its own."
                )
        for name in ("database_url", "broker_url", "redis_url", "events_url"):
            if fault := weak_password(getattr(self, name)):
                faults.append(f"ACTVERSE_{name.upper()} {fault}: give the server another.")
        if self.label_studio_url and not self.label_studio_token.get_secret_value():
            faults.append(
                "ACTVERSE_LABEL_STUDIO_TOKEN is empty, though ACTVERSE_LABEL_STUDIO_URL is set: "
                "take one from the account settings of a user there."
            )
        if self.database_url.startswith("sqlite"):
            faults.append(
                "ACTVERSE_DATABASE_URL is SQLite, which one machine alone can use: give the "
                "cluster's PostgreSQL."
            )
        if faults:
            raise BadInput(" ".join(faults))
        return self

    def model_post_init(self, context: object) -> None:
        self.home = self.home.expanduser().absolute()
        if not self.root.startswith("s3://"):
            folder = Path(self.root) if self.root else self.home / "storage"
            self.root = str(folder.expanduser().absolute())
        self.triton_env = self.triton_env.expanduser().absolute()
        self.label_studio_env = self.label_studio_env.expanduser().absolute()
        if self.secrets_dir is not None:
            self.secrets_dir = self.secrets_dir.expanduser().absolute()
        self.database_url = self.database_url or f"sqlite:///{self.home / 'actverse.db'}"

    @cached_property
    def layout(self) -> Layout:
        """The local folders: the storage itself, or where an S3 storage's files are worked on."""
        remote = self.root.startswith("s3://")
        return Layout(self.home / "workspace" if remote else Path(self.root))

    def environment(self, *, secrets: bool) -> dict[str, str]:
        """This process's environment with these settings, for a child process.

        Args:
            secrets: hand the secrets on; a process that needs none is given none.
        """
        variables = dict(os.environ)
        for name, field in type(self).model_fields.items():
            value, variable = getattr(self, name), f"ACTVERSE_{name.upper()}"
            # A URL that may hold a password is as secret as one.
            secret = isinstance(value, SecretStr) or not field.repr
            if value is None or (secret and not secrets):
                variables.pop(variable, None)
            elif isinstance(value, SecretStr):
                variables[variable] = value.get_secret_value()
            else:
                variables[variable] = (
                    json.dumps(value) if isinstance(value, tuple | dict) else str(value)
                )
        if not secrets:
            variables.pop("ACTVERSE_SECRETS_DIR", None)
            variables["ACTVERSE_WITHOUT_SECRETS"] = "true"
            for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", *_TRACKING_SECRETS):
                variables.pop(variable, None)
            return variables
        return variables | self.tracking_environment()

    def tracking_environment(self) -> dict[str, str]:
        """What MLflow's client reads to be let in by the tracking server.

        Only for a process that asks it: its token lets it do there whatever we may.
        """
        if token := self.mlflow_token.get_secret_value():
            return {"MLFLOW_TRACKING_TOKEN": token}
        names = ("MLFLOW_TRACKING_USERNAME", *_TRACKING_SECRETS)
        return {name: os.environ[name] for name in names if name in os.environ}
