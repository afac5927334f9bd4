"""A version in a real registry: what it holds, and that it comes back byte by byte."""

import hashlib
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput

from components.errors import BadInput, NotFound, Unavailable
from components.parity_set import ParitySet
from components.registry.aliases import read_champion, read_champions, set_champion
from components.registry.download import download_version
from components.registry.register import register_model
from components.registry.tags import ServingState, VersionState, read_state, write_state
from tests.helpers.exports import finished_run, register, write_export


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("export"), task="pose")


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return MlflowClient(mlflow_server)


def test_files_come_back_byte_by_byte(export: Path, mlflow_server: str, tmp_path: Path):
    version = register(export, "bytes", mlflow_server)
    files = download_version("bytes", version, tmp_path, mlflow_server)
    assert files.onnx.read_bytes() == (export / "model.onnx").read_bytes()
    theirs = {path.name: path.read_bytes() for path in files.parity_set.iterdir()}
    assert theirs == {path.name: path.read_bytes() for path in (export / "parity_set").iterdir()}
    assert len(ParitySet.read(files.parity_set).frames) == 2


def test_version_names_its_run_dataset_metrics_and_parity(
    export: Path, mlflow_server: str, client: MlflowClient
):
    run_id = finished_run(mlflow_server)
    data = Dataset(name="mice", digest="d7", source_type="local", source="{}")
    client.log_inputs(run_id, [DatasetInput(data)])
    version = register_model(
        export,
        name="lineage",
        run_id=run_id,
        tracking_uri=mlflow_server,
        metrics={"mAP50": 0.91, "pose mAP50-95(P)": 0.5},
        dataset_digest="d7",
        tags={"task_id": "t7"},
    )
    made = client.get_model_version("lineage", str(version))
    assert made.run_id == run_id
    assert made.tags["task_id"] == "t7"
    assert made.tags["dataset.digest"] == "d7"
    assert made.tags["mAP50"] == "0.91"
    assert made.tags["pose mAP50-95P"] == "0.5"
    assert made.tags["parity.box_error"] == "0.01"
    digest = hashlib.sha256((export / "model.onnx").read_bytes()).hexdigest()
    assert made.tags["onnx.sha256"] == digest
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert made.source == f"models:/{logged.model_id}"
    assert logged.source_run_id == run_id
    assert logged.params["epochs"] == "3"
    measured = {metric.key: metric for metric in logged.metrics}
    assert measured["mAP50"].value == 0.91
    assert (measured["mAP50"].dataset_name, measured["mAP50"].dataset_digest) == ("mice", "d7")


def test_version_is_a_model_with_a_signature(export: Path, mlflow_server: str):
    version = register(export, "signed", mlflow_server)
    uri = MlflowClient(mlflow_server).get_model_version_download_uri("signed", str(version))
    mlflow.set_tracking_uri(mlflow_server)
    signature = mlflow.models.get_model_info(uri).signature
    assert signature.inputs.input_names() == ["images", "confidence", "iou"]
    assert signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert "keypoints" in signature.outputs.input_names()


def test_same_file_is_the_same_version(
    export: Path, mlflow_server: str, client: MlflowClient, tmp_path: Path
):
    first = register(export, "twice", mlflow_server)
    assert register(export, "twice", mlflow_server) == first
    other = register(write_export(tmp_path / "other", seed=1), "twice", mlflow_server)
    assert other == first + 1
    assert len(client.search_model_versions("name = 'twice'")) == 2


@pytest.mark.parametrize("missing", ["model.onnx", "parity_set/expected.json"])
def test_incomplete_export_is_not_registered(
    export: Path, mlflow_server: str, client: MlflowClient, tmp_path: Path, missing: str
):
    write_export(tmp_path / "export")
    (tmp_path / "export" / missing).unlink()
    with pytest.raises((NotFound, BadInput), match="export"):
        register(tmp_path / "export", "incomplete", mlflow_server)
    assert client.search_registered_models("name = 'incomplete'") == []


def test_name_that_is_no_folder_is_refused(export: Path, mlflow_server: str):
    with pytest.raises(BadInput, match="model name"):
        register(export, "../up", mlflow_server)


def test_unknown_run_and_version_are_not_found(export: Path, mlflow_server: str, tmp_path: Path):
    with pytest.raises(NotFound, match="0000"):
        register_model(
            export,
            name="norun",
            run_id="0" * 32,
            tracking_uri=mlflow_server,
            metrics={},
            dataset_digest="",
            tags={},
        )
    with pytest.raises(NotFound, match="version 9 of the model norun"):
        download_version("norun", 9, tmp_path, mlflow_server)


def test_file_changed_in_the_store_is_noticed(
    export: Path, mlflow_server: str, client: MlflowClient, tmp_path: Path
):
    version = register(export, "changed", mlflow_server)
    (tmp_path / "model.onnx").write_bytes((export / "model.onnx").read_bytes()[:-1])
    source = client.get_model_version("changed", str(version)).source
    client.log_model_artifact(source.removeprefix("models:/"), str(tmp_path / "model.onnx"))
    with pytest.raises(BadInput, match="not the file that was registered"):
        download_version("changed", version, tmp_path / "down", mlflow_server)


def test_version_larger_than_allowed_is_not_downloaded(
    export: Path, mlflow_server: str, tmp_path: Path
):
    version = register(export, "large", mlflow_server)
    with pytest.raises(BadInput, match="more than the 1000 allowed"):
        download_version("large", version, tmp_path / "down", mlflow_server, max_bytes=1000)
    assert not (tmp_path / "down").exists()


def test_state_and_its_reason_are_kept_together(export: Path, mlflow_server: str):
    version = register(export, "states", mlflow_server)

    def state() -> VersionState:
        return read_state("states", version, tracking_uri=mlflow_server)

    assert state() == VersionState(None, "")
    write_state("states", version, ServingState.FAILED, "it broke", tracking_uri=mlflow_server)
    assert state() == VersionState(ServingState.FAILED, "it broke")
    write_state("states", version, ServingState.READY, tracking_uri=mlflow_server)
    assert state() == VersionState(ServingState.READY, "")


def test_alias_is_read_by_model_and_moved(export: Path, mlflow_server: str):
    version = register(export, "aliased", mlflow_server)
    assert read_champion("aliased", "champion", tracking_uri=mlflow_server) is None
    set_champion("aliased", version, "champion", tracking_uri=mlflow_server)
    assert read_champion("aliased", "champion", tracking_uri=mlflow_server) == version
    assert read_champions("champion", tracking_uri=mlflow_server)["aliased"] == version
    with pytest.raises(NotFound):
        set_champion("aliased", 99, "champion", tracking_uri=mlflow_server)


def test_server_that_is_away_is_unavailable():
    with pytest.raises(Unavailable, match="does not answer"):
        read_state("any", 1, tracking_uri="http://127.0.0.1:9")
