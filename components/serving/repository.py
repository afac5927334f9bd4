"""Triton's model repository: version folders and ``config.pbtxt``, each written whole.

``{model}/{version}/`` holds ``model.onnx`` and beside it the version's parity set, so
that it can be probed again without a download. A version's number is the registry's.
The same files suit NVIDIA's own ONNX Runtime backend.
"""

import shutil
from pathlib import Path

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from components.errors import BadInput, NotFound
from components.files import disk_errors, link_or_copy, whole_folder, write_text
from components.serving.onnx_file import TensorSpec, read_card, read_tensors
from components.settings import Settings

ONNX_FILE, PARITY_FOLDER, CONFIG_FILE = "model.onnx", "parity_set", "config.pbtxt"

# No registered model begins with "_": see ``components/layout.py``.
_CANDIDATE = "_candidate."


def card_parameter(version: int) -> str:
    """The parameter of ``config.pbtxt`` that holds a version's card as JSON."""
    return f"actverse.card.{version}"


def candidate_name(model: str) -> str:
    """The name under which a version of ``model`` is tried.

    Not a version of ``model`` itself: Triton answers a request that names no version
    with the highest one loaded, tried or not.
    """
    return _CANDIDATE + model


def is_candidate(model: str) -> bool:
    """Whether a name is one of ``candidate_name``."""
    return model.startswith(_CANDIDATE)


class ModelRepository:
    """The repository that a Triton server reads.

    Args:
        settings: the layout, threads and accelerator are read.
    """

    def __init__(self, settings: Settings) -> None:
        self.root = settings.layout.models()
        self._threads = settings.triton_threads
        self._accelerator = settings.triton_accelerator

    def version_folder(self, model: str, version: int) -> Path:
        """``{model}/{version}/``."""
        return self.root / model / str(version)

    def onnx(self, model: str, version: int) -> Path:
        """``{model}/{version}/model.onnx``."""
        return self.version_folder(model, version) / ONNX_FILE

    def parity_set(self, model: str, version: int) -> Path:
        """``{model}/{version}/parity_set/``."""
        return self.version_folder(model, version) / PARITY_FOLDER

    def write_version(self, model: str, version: int, *, onnx: Path, parity_set: Path) -> None:
        """Put a version's files in place; Triton sees them at its next load.

        Raises:
            StorageFull: when the disk is full.
        """
        folder = self.version_folder(model, version)
        with disk_errors(f"version {version} of the model {model}"), whole_folder(folder) as beside:
            link_or_copy(onnx, beside / ONNX_FILE)
            shutil.copytree(parity_set, beside / PARITY_FOLDER, copy_function=link_or_copy)

    def remove_model(self, model: str) -> None:
        """Remove a model's folder."""
        shutil.rmtree(self.root / model, ignore_errors=True)

    def write_config(self, model: str, versions: set[int]) -> None:
        """Write ``config.pbtxt`` so that just ``versions`` are served.

        A request that names no version is answered by the highest of them.

        Raises:
            NotFound: if a version's file is missing.
            BadInput: if the versions' tensors differ: one configuration describes them all.
        """
        described = {version: read_tensors(self.onnx(model, version)) for version in versions}
        inputs, outputs = described[max(versions)]
        if any(one != (inputs, outputs) for one in described.values()):
            raise BadInput(
                f"The versions {sorted(versions)} of the model {model} have different tensors: "
                "serve one at a time."
            )
        config = model_config_pb2.ModelConfig(
            name=model,
            backend="onnxruntime",
            max_batch_size=0,
            input=[_tensor(model_config_pb2.ModelInput, spec) for spec in inputs],
            output=[_tensor(model_config_pb2.ModelOutput, spec) for spec in outputs],
            instance_group=[
                model_config_pb2.ModelInstanceGroup(
                    count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU
                )
            ],
        )
        config.version_policy.specific.versions.extend(sorted(versions))
        if self._accelerator:
            accelerators = config.optimization.execution_accelerators
            accelerators.cpu_execution_accelerator.add(name=self._accelerator)
        config.parameters["intra_op_thread_count"].string_value = str(self._threads)
        config.parameters["inter_op_thread_count"].string_value = "1"
        for version in sorted(versions):
            card = read_card(self.onnx(model, version))
            config.parameters[card_parameter(version)].string_value = card.model_dump_json()
        write_text(self.root / model / CONFIG_FILE, text_format.MessageToString(config))

    def config_text(self, model: str) -> str | None:
        """``config.pbtxt`` as it stands, or None."""
        path = self.root / model / CONFIG_FILE
        return path.read_text(encoding="utf-8") if path.exists() else None

    def restore_config(self, model: str, text: str | None) -> None:
        """Put back what ``config_text`` gave."""
        if text is None:
            (self.root / model / CONFIG_FILE).unlink(missing_ok=True)
        else:
            write_text(self.root / model / CONFIG_FILE, text)

    def served_versions(self, model: str) -> set[int]:
        """The versions that ``config.pbtxt`` says are to be served; empty without one."""
        text = self.config_text(model)
        if text is None:
            return set()
        try:
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
        except text_format.ParseError:
            # Not of our writing: the next promotion writes it anew.
            return set()
        return set(config.version_policy.specific.versions)

    def same_tensors(self, model: str, version: int, other: int) -> bool:
        """Whether two versions can stand under one configuration; False if one is missing."""
        try:
            return read_tensors(self.onnx(model, version)) == read_tensors(self.onnx(model, other))
        except (NotFound, BadInput):
            return False


def _tensor(kind: type, spec: TensorSpec) -> object:
    return kind(
        name=spec.name, data_type=model_config_pb2.DataType.Value(spec.kind), dims=spec.dims
    )
