"""Settings: read from the environment, handed to child processes with or without secrets."""

from pathlib import Path

import pytest

from components.errors import BadInput
from components.settings import Settings

KEYS, HOOK = "k0123456789-abcdefghijklmnopqrstuvwxyz", "h0123456789-abcdefghijklmnopqrstuvwxyz"
CLUSTER = {
    "shape": "cluster",
    "api_key_secret": KEYS,
    "webhook_secret": HOOK,
    "database_url": "postgresql://gateway:Zq8-4kfhw@db/gateway",
}


def test_a_child_process_reads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = Settings(
        home="here",
        mlflow_port=5001,
        webhook_secret="w",
        triton_accelerator="openvino",
        cors_origins=("https://lab.example",),
        broker_url="amqp://u:p@broker/",
    )
    for name, value in given.environment(secrets=True).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    assert Settings() == given
    assert Settings().home == tmp_path / "here"


def test_secrets_are_kept_from_who_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTVERSE_API_KEY_SECRET", "hush-key")
    monkeypatch.setenv("ACTVERSE_WEBHOOK_SECRET", "hush-hook")
    monkeypatch.setenv("ACTVERSE_DATABASE_URL", "postgresql://u:hush-db@host/db")
    monkeypatch.setenv("ACTVERSE_BROKER_URL", "amqp://u:hush-broker@host")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-s3")
    settings = Settings(home=tmp_path)
    assert not [v for v in settings.environment(secrets=False).values() if "hush" in v]
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)


def test_secrets_are_read_from_files_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # As Kubernetes mounts them: links into a folder beside.
    folder = tmp_path / "secrets"
    (folder / "..data").mkdir(parents=True)
    (folder / "..data" / "ACTVERSE_API_KEY_SECRET").write_text("from-file\n")
    (folder / "ACTVERSE_API_KEY_SECRET").symlink_to("..data/ACTVERSE_API_KEY_SECRET")
    (folder / "ACTVERSE_REDIS_URL").write_text("redis://:from-file@host")
    monkeypatch.setenv("ACTVERSE_SECRETS_DIR", str(folder))
    settings = Settings(home=tmp_path)
    assert settings.api_key_secret.get_secret_value() == "from-file"
    assert settings.redis_url == "redis://:from-file@host"
    assert not [v for v in settings.environment(secrets=False).values() if "from-file" in v]
    assert "ACTVERSE_SECRETS_DIR" not in settings.environment(secrets=False)
    assert "from-file" not in repr(settings)
    monkeypatch.setenv("ACTVERSE_API_KEY_SECRET", "from-environment")
    assert Settings().api_key_secret.get_secret_value() == "from-environment"


def test_a_folder_of_secrets_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match="ACTVERSE_SECRETS_DIR"):
        Settings(secrets_dir=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"api_key_secret": ""}, "ACTVERSE_API_KEY_SECRET is empty"),
        ({"webhook_secret": ""}, "ACTVERSE_WEBHOOK_SECRET is empty"),
        ({"webhook_secret": "Change-Me!"}, "ACTVERSE_WEBHOOK_SECRET is known to everybody"),
        ({"api_key_secret": "a" * 40}, "ACTVERSE_API_KEY_SECRET is known to everybody"),
        ({"api_key_secret": KEYS[:20]}, "ACTVERSE_API_KEY_SECRET has only 20 characters"),
        ({"webhook_secret": KEYS}, "are the same"),
        ({"database_url": ""}, "ACTVERSE_DATABASE_URL is SQLite"),
        ({"database_url": "postgresql://g:postgres@db/g"}, "ACTVERSE_DATABASE_URL holds"),
        ({"broker_url": "amqp://guest:guest@rabbit//"}, "ACTVERSE_BROKER_URL holds"),
        ({"redis_url": "redis://:change%2dme@redis"}, "ACTVERSE_REDIS_URL holds"),
        ({"events_url": "amqp://lab:lab@rabbit"}, "ACTVERSE_EVENTS_URL holds"),
        ({"label_studio_url": "http://labels:8080"}, "ACTVERSE_LABEL_STUDIO_TOKEN is empty"),
        ({"kfp_endpoint": "http://kfp:8888"}, "ACTVERSE_PIPELINE_SECRET is empty"),
        (
            {"kfp_endpoint": "http://kfp:8888", "pipeline_secret": HOOK},
            "ACTVERSE_WEBHOOK_SECRET and ACTVERSE_PIPELINE_SECRET are the same",
        ),
    ],
)
def test_a_cluster_refuses_secrets_that_keep_nobody_out(
    tmp_path: Path, change: dict[str, str], said: str
):
    with pytest.raises(BadInput, match=said) as raised:
        Settings(home=tmp_path, **(CLUSTER | change))
    for value in change.values():
        assert not value or value not in str(raised.value)
    Settings(home=tmp_path, **(CLUSTER | change | {"shape": "embedded"}))


def test_a_cluster_with_good_secrets_is_taken(tmp_path: Path):
    tool = {"label_studio_url": "http://labels:8080", "label_studio_token": "f" * 40}
    settings = Settings(home=tmp_path, **CLUSTER, **tool)
    assert "f" * 40 not in repr(settings)
    assert KEYS not in repr(settings)


def test_a_step_in_a_cluster_needs_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = Settings(home=tmp_path, **CLUSTER)
    for name, value in given.environment(secrets=False).items():
        monkeypatch.setenv(name, value)
    step = Settings()
    assert step.shape == "cluster"
    assert not step.api_key_secret.get_secret_value()


def test_an_error_shows_no_secret(tmp_path: Path):
    with pytest.raises(ValueError) as raised:
        Settings(home=tmp_path, webhook_secret=["hush-hook"], max_video_bytes="hush-number")
    assert "max_video_bytes" in str(raised.value)
    assert "hush" not in str(raised.value)
