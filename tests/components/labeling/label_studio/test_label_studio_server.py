"""How Label Studio is started."""

import socket
from pathlib import Path

import httpx
import pytest

from components.errors import NotFound
from components.labeling.label_studio.server import label_studio_launch, label_studio_ready
from components.settings import Settings
from tests.helpers.label_studio import LabelStudioServer
from tests.helpers.servers import free_ports


def launch(settings: Settings, work: Path) -> tuple[list[str], dict[str, str]]:
    return label_studio_launch(
        settings, port=1, work=work, username="a@b.c", password="password", token="token"
    )


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """An environment that has the program, which nothing here starts."""
    program = tmp_path / "env" / "bin" / "label-studio"
    program.parent.mkdir(parents=True)
    program.touch()
    return tmp_path / "env"


def test_it_sees_none_of_our_environment(
    env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "DEBUG", "SECRET_KEY", "ACTVERSE_WEBHOOK_SECRET", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "ours")
    settings = Settings(home=tmp_path / "home", label_studio_env=env)
    argv, environment = launch(settings, tmp_path / "work")
    assert "ours" not in environment.values()
    assert "password" not in argv
    assert "token" not in argv
    _, environment = launch(settings.model_copy(update={"root": "s3://b"}), tmp_path / "work")
    assert [name for name, value in environment.items() if value == "ours"] == [
        "AWS_SECRET_ACCESS_KEY"
    ]


def test_only_our_own_private_addresses_are_open(env: Path, tmp_path: Path) -> None:
    def closed(**given: str) -> set[str]:
        settings = Settings(home=tmp_path / "home", label_studio_env=env, **given)
        name = "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS"
        return set(launch(settings, tmp_path / "work")[1][name].split(","))

    assert "127.0.0.0/8" not in closed()
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= closed()
    assert closed(s3_endpoint="http://10.1.2.3:9000") == closed() - {"10.0.0.0/8"}


def test_an_environment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ACTVERSE_LABEL_STUDIO_ENV"):
        launch(Settings(home=tmp_path, label_studio_env=tmp_path / "none"), tmp_path)


def test_another_server_is_not_taken_for_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    assert not label_studio_ready(f"http://127.0.0.1:{port}", timeout=0.5)
    assert not label_studio_ready("no address", timeout=0.5)


@pytest.mark.label_studio
def test_it_answers_on_the_loopback_only_and_strangers_cannot_sign_up(
    label_studio: LabelStudioServer,
) -> None:
    assert label_studio_ready(label_studio.url)
    port = int(label_studio.url.rpartition(":")[2])
    with socket.socket() as other:
        # The whole 127.0.0.0/8 is this machine: another address of it is free.
        other.bind(("127.0.0.2", port))
    with httpx.Client(base_url=label_studio.url, trust_env=False, timeout=60) as stranger:
        stranger.get("/user/login/").raise_for_status()
        form = {
            "csrfmiddlewaretoken": stranger.cookies["csrftoken"],
            "email": "stranger@example.com",
            "password": "a long password",
        }
        answer = stranger.post("/user/signup/", data=form, headers={"Referer": label_studio.url})
        assert answer.status_code == 403
        assert stranger.get("/api/projects/").status_code == 401
    with label_studio.logged_in() as person:
        assert person.get("/api/projects/").is_success


@pytest.mark.label_studio
def test_it_keeps_its_secret_key_to_itself(label_studio: LabelStudioServer) -> None:
    data = label_studio.log.parent / "data"
    assert data.stat().st_mode & 0o077 == 0
    assert (data / ".env").stat().st_mode & 0o077 == 0
    assert "SECRET_KEY=" in (data / ".env").read_text()
