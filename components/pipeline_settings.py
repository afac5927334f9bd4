"""The settings of Kubeflow Pipelines: its address, the images, what each step may use."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from components.image_tags import checked_image_tag


class PipelineSettings(BaseSettings):
    """The part of Settings that says where and with what the pipelines run."""

    image_repository: str = Field(
        "actverse", description="REPOSITORY/light and REPOSITORY/trainer are the images"
    )
    image_tag: str = Field("0.1.0", description="their version; never latest")

    kfp_endpoint: str = Field(
        "", description="URL of Kubeflow Pipelines' API; empty: pipelines run on this machine"
    )
    kfp_public_url: str = Field(
        "", description="address of its pages for people; default: kfp_endpoint"
    )
    kfp_namespace: str = Field("", description="a namespace of a multi-user Kubeflow")
    kfp_experiment: str = "actverse"
    kfp_token: SecretStr = Field(SecretStr(""), description="a bearer token of Kubeflow Pipelines")
    kfp_token_path: Path | None = Field(
        None, description="a file with a token that is read anew each time: a service account's"
    )
    kfp_ca_bundle: Path | None = Field(
        None, description="certificates that its TLS is verified with; default: the system's"
    )
    kfp_poll_seconds: float = Field(5.0, gt=0, description="between two looks at a pipeline run")
    kfp_followed_runs: int = Field(
        100, ge=1, description="pipeline runs that one watcher follows side by side"
    )
    pipeline_secret: SecretStr = Field(
        SecretStr(""), description="signs what a pipeline run tells the gateway at its end"
    )

    pipeline_runner: Literal["subprocess", "docker"] = Field(
        "subprocess",
        description="of pipelines on this machine: docker runs each step in its image",
    )
    pipeline_config_map: str = Field(
        "actverse-pipeline", description="the ConfigMap with the steps' ACTVERSE_* variables"
    )
    pipeline_storage_secret: str = Field(
        "actverse-storage", description="the Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    )
    pipeline_report_secret: str = Field(
        "actverse-pipeline", description="the Secret with pipeline-secret, for the exit handler"
    )
    pipeline_cpu: str = Field("1", description="CPUs of a step that neither trains nor analyses")
    pipeline_memory: str = Field("2Gi", description="memory of such a step")
    analysis_cpu: str = Field("2", description="CPUs of an analysis in a pipeline")
    analysis_memory: str = Field("4Gi", description="its memory")
    training_cpu: str = Field("4", description="CPUs of a training in a pipeline")
    training_memory: str = Field("16Gi", description="its memory")
    training_shared_memory: str = Field("4Gi", description="its /dev/shm, for data loaders")
    gpu_type: str = Field("nvidia.com/gpu", description="the resource that a GPU is asked for by")
    training_gpus: int = Field(0, ge=0, description="GPUs of a training in a pipeline")
    gpu_node_selector: dict[str, str] = Field(
        default_factory=dict, description="labels of the nodes with GPUs, as JSON"
    )
    gpu_tolerations: tuple[str, ...] = Field(
        (), description="taints of the nodes with GPUs, each as KEY=VALUE:EFFECT or KEY:EFFECT"
    )
    pipeline_start_timeout: float = Field(
        6 * 3600.0,
        gt=0,
        description="seconds that a step's pod, also a repeat's, may wait for a node, its image "
        "and its settings; a step that says nothing for so long is given up",
    )
    pipeline_retries: int = Field(2, ge=0, description="of a step where a repeat can help")
    pipeline_parallelism: int = Field(4, ge=1, description="videos analysed side by side")

    @field_validator("image_tag")
    @classmethod
    def _names_one_version(cls, tag: str) -> str:
        return checked_image_tag(tag)

    @property
    def light_image(self) -> str:
        """The image of the gateway, the workers and every step without torch."""
        return f"{self.image_repository}/light:{self.image_tag}"

    @property
    def trainer_image(self) -> str:
        """The image of what loads a model.pt: training, export, and the import of models."""
        return f"{self.image_repository}/trainer:{self.image_tag}"
