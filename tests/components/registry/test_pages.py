"""Ways to MLflow's pages, checked against a real server, and pages kept with a run."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.registry.pages import (
    log_pages,
    run_of_version,
    run_page,
    version_markdown,
    version_page,
)
from components.settings import Settings
from tests.helpers.exports import finished_run, register, write_export
from tests.helpers.servers import free_ports


def test_a_run_and_a_version_have_their_pages(mlflow_server: str, tmp_path: Path):
    settings = Settings(home=tmp_path, mlflow_uri=mlflow_server)
    version = register(write_export(tmp_path / "export"), "paged", mlflow_server)
    run_id = run_of_version("paged", version, settings)
    experiment = MlflowClient(mlflow_server).get_run(run_id).info.experiment_id
    url = run_page(run_id, settings)
    assert url == f"{mlflow_server}/#/experiments/{experiment}/runs/{run_id}"
    page = version_markdown("It is [here](x)", "paged", version, settings, run_url=url, words="a|b")
    assert page.startswith("# It is \\[here\\]\\(x\\)\n\na\\|b\n")
    assert f"]({mlflow_server}/#/models/paged/versions/{version})" in page
    assert f"]({url})" in page


def test_pages_are_kept_with_a_run_that_has_ended(mlflow_server: str, tmp_path: Path):
    settings = Settings(home=tmp_path, mlflow_uri=mlflow_server)
    run_id = finished_run(mlflow_server)
    log_pages(run_id, {"a.html": "<p>ü</p>", "b.md": "# b"}, settings)
    client = MlflowClient(mlflow_server)
    kept = {entry.path for entry in client.list_artifacts(run_id, "pages")}
    assert kept == {"pages/a.html", "pages/b.md"}
    assert Path(client.download_artifacts(run_id, "pages/a.html")).read_text() == "<p>ü</p>"


def test_an_mlflow_that_is_away_costs_a_link_and_no_step(tmp_path: Path):
    (port,) = free_ports(1)
    settings = Settings(home=tmp_path, mlflow_uri=f"http://127.0.0.1:{port}")
    assert run_page("abc", settings) == ""
    assert run_of_version("paged", 1, settings) == ""
    log_pages("abc", {"a.html": "a"}, settings)
    assert "Its training" not in version_markdown("x", "paged", 1, settings)


@pytest.mark.parametrize(
    ("public", "base"),
    [
        ("https://mlflow.example/base/", "https://mlflow.example/base"),
        ("https://ann:secret@mlflow.example", "https://mlflow.example"),
        ("", "http://10.0.0.1:5000"),
        ("javascript:alert(1)//", None),
    ],
)
def test_people_have_an_address_of_their_own(public: str, base: str | None, tmp_path: Path):
    settings = Settings(home=tmp_path, mlflow_uri="http://10.0.0.1:5000", mlflow_public_url=public)
    found = version_page("a/b (c)", 3, settings)
    assert found == (f"{base}/#/models/a%2Fb%20%28c%29/versions/3" if base else "")
