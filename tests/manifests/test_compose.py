"""compose.yaml: the same system as the cluster's, on one Docker host."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.settings import Settings
from gateway.flows import Queue
from tests.helpers.manifests import MANIFESTS, made_secrets, render, tool, version, workloads

Services = dict[str, dict[str, Any]]


def compose_config(secrets: Path, **environment: str) -> dict[str, Any]:
    """The file as Compose reads it, with everything filled in."""
    argv = [tool("docker-compose"), "--file", str(MANIFESTS / "compose.yaml")]
    done = subprocess.run(
        [*argv, "config", "--format", "json"],
        env={**os.environ, "ACTVERSE_SECRETS": str(secrets), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The wheel's wrapper loses the exit code.
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    made_secrets(folder)
    return folder


@pytest.fixture(scope="module")
def config(secrets: Path) -> dict[str, Any]:
    return compose_config(secrets)


@pytest.fixture(scope="module")
def services(config: dict[str, Any]) -> Services:
    return config["services"]


def test_it_has_every_part_of_the_cluster(services: Services):
    wanted = {name.removeprefix("actverse-") for name in workloads(render("embedded-kind"))}
    assert set(services) == wanted | {"s3-folder"}
    queues = [
        one["command"][one["command"].index("--queue") + 1]
        for one in services.values()
        if "--queue" in (one["command"] or ())
    ]
    assert sorted(queues) == sorted(queue.value for queue in Queue)


def test_images_are_the_clusters_and_the_watcher_can_train(services: Services):
    settings = Settings(image_tag=version())
    for name, workload in workloads(render("embedded-kind")).items():
        image = services[name.removeprefix("actverse-")]["image"]
        trains = name == "watcher"
        assert image == (settings.trainer_image if trains else workload.container["image"]), name


def test_another_tag_is_taken_by_all_of_ours(secrets: Path):
    config = compose_config(secrets, ACTVERSE_IMAGE_TAG="0.2.0")
    images = {one["image"] for one in config["services"].values()}
    assert {one for one in images if one.startswith("actverse/")} == {
        "actverse/light:0.2.0",
        "actverse/trainer:0.2.0",
    }


def test_every_process_has_settings_that_are_accepted(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fields = {f"ACTVERSE_{name.upper()}" for name in Settings.model_fields}
    checked = 0
    for name, service in config["services"].items():
        if (service["command"] or [""])[0] != "actverse":
            continue
        mounted = tmp_path / name
        mounted.mkdir()
        for secret in service["secrets"]:
            source = Path(config["secrets"][secret["source"]]["file"])
            (mounted / secret["source"]).write_text(source.read_text())
        variables = {
            key: value
            for key, value in service["environment"].items()
            if key.startswith("ACTVERSE_")
        }
        given = {path.name for path in mounted.iterdir() if path.name.startswith("ACTVERSE_")}
        assert variables.keys() | given <= fields, name
        assert variables["ACTVERSE_SECRETS_DIR"] == "/run/secrets"
        with monkeypatch.context() as patch:
            for key, value in (variables | {"ACTVERSE_SECRETS_DIR": str(mounted)}).items():
                patch.setenv(key, value)
            settings = Settings()
        assert settings.shape == "cluster"
        # Pipelines run on this machine.
        assert not settings.kfp_endpoint
        assert settings.broker_url.startswith("amqp") or name == "prepare"
        assert bool(settings.triton_control_key.get_secret_value()) == (name == "watcher")
        checked += 1
    assert checked == 9


def test_nothing_secret_is_in_the_variables_of_our_processes(config: dict[str, Any], secrets: Path):
    values = {path.read_text() for path in secrets.rglob("*") if path.is_file()}
    for service in config["services"].values():
        if (service["command"] or [""])[0] == "actverse":
            assert not values & set(service["environment"].values())


def test_addresses_are_names_on_the_network(services: Services):
    aliases = {
        alias
        for service in services.values()
        for network in (service.get("networks") or {}).values()
        for alias in (network or {}).get("aliases", [])
    }
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if ".svc.cluster.local" in value and not key.endswith("ALLOWED_HOSTS"):
                host = value.rpartition("//")[2].partition(":")[0].partition("/")[0]
                assert host in aliases, (name, key)


def test_only_what_people_open_is_published_and_on_the_loopback(services: Services):
    published = {
        name: [(port["host_ip"], port["published"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }
    assert published == {
        "gateway": [("127.0.0.1", "8000")],
        "mlflow": [("127.0.0.1", "5000")],
        "label-studio": [("127.0.0.1", "8080")],
        "s3": [("127.0.0.1", "8333")],
    }


def test_only_who_must_gets_out(config: dict[str, Any]):
    services: Services = config["services"]
    assert config["networks"]["default"]["internal"] is True
    out = {name for name, one in services.items() if "outside" in (one.get("networks") or {})}
    published = {name for name, one in services.items() if "ports" in one}
    assert out - published == {"worker-video", "worker-notification"}


def test_every_container_is_confined_and_watched(services: Services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        once = service["restart"].startswith("on-failure")
        assert once or service["healthcheck"]["test"], name
        if name != "s3-folder":
            assert not service["user"].startswith("0"), name
            assert not service.get("cap_add"), name


def test_who_is_waited_for_can_be_waited_for(services: Services):
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            once = services[other]["restart"].startswith("on-failure")
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how["condition"] == wanted, (name, other)


def test_servers_are_told_what_the_cluster_tells_them(services: Services):
    found = workloads(render("embedded-kind"))
    for name in ("triton", "mlflow", "label-studio", "s3", "redis"):
        there = " ".join(services[name]["command"])
        for argument in found[name].container["args"]:
            if "$(" not in argument and "/" not in argument:
                assert argument in there, (name, argument)


def test_without_secrets_it_says_which_file_is_missing(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"compose/[a-z-]+\.env not found"):
        compose_config(tmp_path)
