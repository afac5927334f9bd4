"""Settings: read from the environment, handed to child processes with or without secrets."""

from pathlib import Path

import pytest

from components.settings import Settings


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
