"""What the manifests say to the processes: variables that exist, values that are accepted."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from components.errors import BadInput
from components.settings import Settings
from tests.helpers.manifests import (
    MANIFESTS,
    OVERLAYS,
    Document,
    Workload,
    environment,
    made_secrets,
    named,
    of_kind,
    render,
    secret_references,
    version,
    workloads,
)

Secrets = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    return made_secrets(tmp_path_factory.mktemp("made") / "secrets")


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


def ours(documents: list[Document]) -> list[Workload]:
    found = workloads(documents).values()
    return [one for one in found if one.container.get("command") == ["actverse"]]


def settings_of(variables: dict[str, str], patch: pytest.MonkeyPatch) -> Settings:
    """The Settings of a process with these variables alone."""
    for name in Settings.model_fields:
        patch.delenv(f"ACTVERSE_{name.upper()}", raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)
    return Settings()


def unknown(variables: dict[str, str]) -> set[str]:
    """Variables of ours that no setting has."""
    fields = {f"ACTVERSE_{name.upper()}" for name in Settings.model_fields}
    return {name for name in variables if name.startswith("ACTVERSE_")} - fields


def test_every_process_has_settings_that_are_accepted(
    documents: list[Document], secrets: Secrets, monkeypatch: pytest.MonkeyPatch
):
    for workload in ours(documents):
        variables = environment(documents, workload, secrets)
        assert not unknown(variables), workload.name
        with monkeypatch.context() as patch:
            settings = settings_of(variables, patch)
        assert settings.shape == "cluster"
        assert settings.root.startswith("s3://")
        assert settings.home == Path("/var/lib/actverse")
        # Beat alone is given no key, only addresses.
        assert settings.without_secrets == (workload.name == "beat")
        assert settings.broker_url.startswith("amqp")
        assert not settings.triton_shared_memory


def test_a_bad_value_and_an_unknown_variable_are_found(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
):
    documents = render("production")
    variables = environment(documents, workloads(documents)["gateway"], secrets)
    assert unknown(variables | {"ACTVERSE_KFP_ENDPOIN": "x"}) == {"ACTVERSE_KFP_ENDPOIN"}
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="gateway_port"):
        settings_of(variables | {"ACTVERSE_GATEWAY_PORT": "80000"}, patch)
    with monkeypatch.context() as patch, pytest.raises(BadInput, match="ACTVERSE_WEBHOOK_SECRET"):
        settings_of(variables | {"ACTVERSE_WEBHOOK_SECRET": "secret"}, patch)


def test_every_secret_that_is_asked_for_is_made_and_told_of(secrets: Secrets):
    asked = {
        reference
        for overlay in OVERLAYS
        for workload in workloads(render(overlay)).values()
        for reference in secret_references(workload)
    }
    made = {(secret, key) for secret, keys in secrets.items() for key in keys}
    assert asked == made
    told = (MANIFESTS / "README.md").read_text()
    for secret, key in made:
        assert f"`{secret}`" in told, secret
        assert f"`{key}`" in told, key


def test_secrets_are_strong_and_made_once(tmp_path: Path, secrets: Secrets):
    folder = tmp_path / "secrets"
    first = made_secrets(folder)
    assert made_secrets(folder) == first
    assert first != secrets
    assert folder.stat().st_mode & 0o077 == 0
    from cryptography.fernet import Fernet

    Fernet(first["actverse-mlflow"]["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"])
    # Label Studio's own tokens have this form.
    assert len(first["actverse-label-studio"]["LABEL_STUDIO_USER_TOKEN"]) == 40


def test_each_config_map_that_is_asked_for_is_there(documents: list[Document]):
    for workload in workloads(documents).values():
        for source in workload.container.get("envFrom", []):
            named(documents, "ConfigMap", source["configMapRef"]["name"])
        for volume in workload.pod["volumes"]:
            if "configMap" in volume:
                named(documents, "ConfigMap", volume["configMap"]["name"])


def test_addresses_name_services_with_their_ports(documents: list[Document]):
    services = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.cluster.local": {
            port["port"] for port in one["spec"]["ports"]
        }
        for one in of_kind(documents, "Service")
    }
    config = {
        key: value
        for one in of_kind(documents, "ConfigMap")
        for key, value in one["data"].items()
        if ".svc.cluster.local" in value and not key.endswith("ALLOWED_HOSTS")
    }
    checked = set()
    for key, value in config.items():
        if key == "POSTGRE_HOST":
            address = urlsplit(f"//{value}:5432")
        elif key == "MODEL_REPOSITORY":
            address = urlsplit(value.removeprefix("s3://"))
        else:
            address = urlsplit(value if "://" in value else f"//{value}")
        if address.hostname == "ml-pipeline.kubeflow.svc.cluster.local":
            assert address.port == 8888
            continue
        assert address.port in services[address.hostname or ""], (key, value)
        checked.add(key)
    assert checked >= {
        "ACTVERSE_GATEWAY_URI",
        "ACTVERSE_MLFLOW_URI",
        "ACTVERSE_TRITON_URL",
        "ACTVERSE_LABEL_STUDIO_URL",
    }


def test_secret_addresses_name_services_too(secrets: Secrets):
    services = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
        for one in of_kind(render("embedded-kind"), "Service")
    }
    for secret, key in (
        ("actverse", "ACTVERSE_DATABASE_URL"),
        ("actverse", "ACTVERSE_BROKER_URL"),
        ("actverse", "ACTVERSE_EVENTS_URL"),
        ("actverse", "ACTVERSE_REDIS_URL"),
        ("actverse-mlflow", "MLFLOW_BACKEND_STORE_URI"),
    ):
        address = urlsplit(secrets[secret][key])
        assert address.port in services[address.hostname or ""], key


def test_triton_reads_the_models_of_the_storage(documents: list[Document]):
    config = named(documents, "ConfigMap", "actverse")["data"]
    endpoint, root = config.get("ACTVERSE_S3_ENDPOINT", ""), config["ACTVERSE_ROOT"]
    wanted = (
        f"s3://{endpoint}/{root.removeprefix('s3://')}/models" if endpoint else f"{root}/models"
    )
    triton = named(documents, "ConfigMap", "actverse-triton")["data"]
    assert triton["MODEL_REPOSITORY"] == wanted
    assert triton["AWS_DEFAULT_REGION"] == config["ACTVERSE_S3_REGION"]
    args = workloads(documents)["triton"].container["args"]
    assert "--model-repository=$(MODEL_REPOSITORY)" in args
    grpc = config["ACTVERSE_TRITON_URL"].rpartition(":")[2]
    assert f"--grpc-port={grpc}" in args


def test_triton_control_is_for_the_watcher_alone(documents: list[Document]):
    from components.serving.control import CONTROL_HEADER

    args = workloads(documents)["triton"].container["args"]
    restricted = [one for one in args if "-restricted-" in one]
    assert len(restricted) == 2
    for one in restricted:
        apis, _, key = one.partition("=")[2].partition(":")
        assert "model-repository" in apis.split(",")
        assert key == f"{CONTROL_HEADER}=$(CONTROL_KEY)"
    holders = {
        workload.name
        for workload in workloads(documents).values()
        if ("actverse-triton", "control-key") in set(secret_references(workload))
    }
    assert holders == {"triton", "watcher"}


def test_mlflow_answers_to_the_names_it_is_asked_by(documents: list[Document]):
    allowed = named(documents, "ConfigMap", "actverse-mlflow")["data"]
    names = allowed["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    config = named(documents, "ConfigMap", "actverse")["data"]
    assert urlsplit(config["ACTVERSE_MLFLOW_URI"]).netloc in names
    public = urlsplit(config["ACTVERSE_MLFLOW_PUBLIC_URL"]).netloc
    assert public in names or f"{public.partition(':')[0]}:*" in names
    # A wildcard for a whole name would let rebound names in.
    assert not [one for one in names if "*" in one and not one.endswith(":*")]


def test_kubeflow_is_asked_with_the_token_that_is_mounted(documents: list[Document]):
    config = named(documents, "ConfigMap", "actverse-kubeflow")["data"]
    path = Path(config["ACTVERSE_KFP_TOKEN_PATH"])
    for name in ("gateway", "watcher"):
        workload = workloads(documents)[name]
        (volume,) = [one for one in workload.pod["volumes"] if "projected" in one]
        (source,) = volume["projected"]["sources"]
        (mount,) = [
            one for one in workload.container["volumeMounts"] if one["name"] == volume["name"]
        ]
        assert Path(mount["mountPath"]) / source["serviceAccountToken"]["path"] == path


def test_the_image_tag_is_the_version_everywhere(documents: list[Document]):
    config = named(documents, "ConfigMap", "actverse-kubeflow")["data"]
    assert config["ACTVERSE_IMAGE_TAG"] == version()
    settings = Settings(
        image_repository=config["ACTVERSE_IMAGE_REPOSITORY"],
        image_tag=config["ACTVERSE_IMAGE_TAG"],
    )
    assert workloads(documents)["gateway"].container["image"] == settings.light_image


@pytest.mark.parametrize("pipeline", ["training", "analysis"])
def test_what_a_pipelines_pods_ask_for_is_there(
    pipeline: str,
    documents: list[Document],
    secrets: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from pipelines.compile import compile_pipeline

    path = compile_pipeline(pipeline, tmp_path / "pipeline.yaml", Settings())  # type: ignore[arg-type]
    *_, platforms = yaml.safe_load_all(path.read_text())
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    config = named(documents, "ConfigMap", "actverse-pipeline")
    (role,) = of_kind(documents, "Role")
    assert config["metadata"]["namespace"] == role["metadata"]["namespace"]
    used = set()
    for executor in executors.values():
        for source in executor.get("configMapAsEnv", []):
            assert source["configMapName"] == config["metadata"]["name"]
            keys = {one["configMapKey"] for one in source["keyToEnv"]}
            used |= keys
            assert source.get("optional") or keys <= set(config["data"])
        for source in executor.get("secretAsEnv", []):
            for one in source["keyToEnv"]:
                assert one["secretKey"] in secrets[source["secretName"]]
    # A key that no step reads would be a setting without effect.
    assert set(config["data"]) <= used
    with monkeypatch.context() as patch:
        settings = settings_of(config["data"], patch)
    assert not unknown(config["data"])
    gateway = named(documents, "ConfigMap", "actverse")["data"]
    assert settings.without_secrets
    for key in {one for one in used if one.startswith("ACTVERSE_")} - {"ACTVERSE_WITHOUT_SECRETS"}:
        assert config["data"].get(key) == gateway.get(key), key
