"""A checked export becomes a version of a registered model."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import NotFound, StepFailed
from components.layout import checked_name
from components.parity_set import ParitySet
from components.registry.connection import registry
from components.served_model import ModelCard

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

DIGEST_TAG = "onnx.sha256"
ONNX_FILE, PARITY_FOLDER = "model.onnx", "parity_set"


def register_model(
    export: Path,
    *,
    name: str,
    run_id: str,
    tracking_uri: str,
    metrics: dict[str, float],
    dataset_digest: str,
    tags: dict[str, str],
) -> int:
    """Register an export as a version of the model ``name``, with its lineage.

    The version's artifacts are the ONNX file, byte by byte as it is in ``export``, and
    the parity set that its promotion is probed with. They belong to the training's own
    run. Registering the same file under the same name again gives the same version.

    Args:
        export: the folder with ``model.onnx``, ``parity_set/`` and the report ``parity.*``.
        name: the registered model; made if it is not there.
        run_id: the training's run.
        tracking_uri: http://host:port of the MLflow server.
        metrics: what the training reached; stands on the version as tags too.
        dataset_digest: of the data set that it was trained with.
        tags: more tags of the version.

    Returns:
        The version.

    Raises:
        BadInput: if the name cannot be used, the file carries no card, or there is no
            parity set that can be read.
        NotFound: if there is no such file or run.
        Unavailable: if the server does not answer.
    """
    checked_name(name, "model name")
    if not (export / ONNX_FILE).exists():
        raise NotFound(f"The export {export} has no {ONNX_FILE}: export the model again.")
    ParitySet.read(export / PARITY_FOLDER)
    metrics = {_clean(key): value for key, value in metrics.items()}
    digest = hashlib.sha256((export / ONNX_FILE).read_bytes()).hexdigest()
    tags = {
        **{key: f"{value:.6g}" for key, value in metrics.items()},
        **_parity_tags(export),
        **tags,
        "dataset.digest": dataset_digest,
        "run_id": run_id,
        DIGEST_TAG: digest,
    }
    with registry(tracking_uri, f"the model {name} of run {run_id}") as client:
        found = client.search_model_versions(
            f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'"
        )
        if found:
            return min(int(version.version) for version in found)
        run = client.get_run(run_id)
        logged = client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            tags=tags,
            params=dict(run.data.params),
            model_type="onnx",
        )
        with tempfile.TemporaryDirectory() as folder:
            flavour = Path(folder) / "model"
            _save(export, flavour, logged)
            client.log_model_artifacts(logged.model_id, str(flavour))
        client.finalize_logged_model(logged.model_id, "READY")
        _link(client, run, logged, metrics, dataset_digest)
        _ensure_registered(client, name)
        made = client.create_model_version(
            name,
            source=f"models:/{logged.model_id}",
            run_id=run_id,
            tags=tags,
            model_id=logged.model_id,
        )
    if made.status != "READY":
        raise StepFailed(f"MLflow left the model {name} in state {made.status}: register it again.")
    return int(made.version)


def _save(export: Path, target: Path, logged: "LoggedModel") -> None:
    """Write the export as a model of MLflow's ONNX flavour."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    proto = onnx.load(str(export / ONNX_FILE), load_external_data=False)
    card = ModelCard.from_metadata({entry.key: entry.value for entry in proto.metadata_props})

    def schema(tensors: Any) -> Schema:
        return Schema([TensorSpec(*_spec(tensor), name=tensor.name) for tensor in tensors])

    mlflow.onnx.save_model(
        proto,
        target,
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=logged.source_run_id,
            model_id=logged.model_id,
            metadata={"card": card.model_dump_json()},
        ),
        signature=ModelSignature(schema(proto.graph.input), schema(proto.graph.output)),
        # By default the file is split and the proto in memory changed.
        save_as_external_data=False,
        # Else the model is loaded to find them out.
        pip_requirements=["onnxruntime"],
        onnx_execution_providers=["CPUExecutionProvider"],
    )
    # Protobuf need not write the same bytes again; the registry shall hold what was checked.
    shutil.copyfile(export / ONNX_FILE, target / ONNX_FILE)
    shutil.copytree(export / PARITY_FOLDER, target / PARITY_FOLDER)
    for report in export.glob("parity.*"):
        shutil.copy2(report, target)


def _spec(tensor: Any) -> tuple[Any, tuple[int, ...]]:
    """dtype and shape of a graph's tensor, -1 for an open dimension."""
    import onnx

    kind = tensor.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type), shape


def _link(
    client: "MlflowClient",
    run: "Run",
    logged: "LoggedModel",
    metrics: Mapping[str, float],
    dataset_digest: str,
) -> None:
    """Make the model an output of the run, with its metrics on the run's own data set."""
    from mlflow.entities import LoggedModelOutput

    run_id = run.info.run_id
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    datasets = [entry.dataset for entry in (run.inputs.dataset_inputs if run.inputs else [])]
    own = next((one for one in datasets if one.digest == dataset_digest), None)
    for key, value in metrics.items():
        client.log_metric(
            run_id,
            key,
            value,
            dataset_name=own.name if own else None,
            dataset_digest=own.digest if own else None,
            model_id=logged.model_id,
        )


def _ensure_registered(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={"made_by": "actverse"})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _clean(key: str) -> str:
    """The key without what MLflow takes in no name."""
    return re.sub(r"[^\w./ -]", "", key)


def _parity_tags(export: Path) -> dict[str, str]:
    """The figures at the top of the parity report."""
    report = export / "parity.json"
    figures = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return {
        f"parity.{_clean(key)}": str(value)
        for key, value in figures.items()
        if isinstance(value, int | float | str)
    }
