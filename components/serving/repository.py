"""Triton's model repository: version folders and ``config.pbtxt``, each written whole.

``{model}/{version}/`` holds ``model.onnx`` and beside it the version's parity set, so
that it can be probed again without a download. A version's number is the registry's.
The same files suit NVIDIA's own ONNX Runtime backend.

With a folder as the storage Triton reads these very files. With S3 it reads the bucket, and
the local ones are a working copy that may be missing: what is in the bucket counts. A
configuration goes there after the files it names, so that Triton never finds half of them.
"""

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from components.errors import BadInput, NotFound
from components.files import disk_errors, link_or_copy, whole_folder, write_text
from components.parity_set import ParitySet
from components.serving.onnx_file import TensorSpec, read_card, read_tensors
from components.settings import Settings
from components.storage import Storage, open_storage

_KINDS = {
    "cpu": model_config_pb2.ModelInstanceGroup.KIND_CPU,
    "gpu": model_config_pb2.ModelInstanceGroup.KIND_GPU,
}

ONNX_FILE, PARITY_FOLDER, CONFIG_FILE = "model.onnx", "parity_set", "config.pbtxt"

# No registered model begins with "_": see ``components/layout.py``.
_CANDIDATE = "_candidate."

_README = "README.txt"
_README_TEXT = (
    b"Triton's model repository. Triton does not start over a prefix with no object in it.\n"
)


def card_parameter(version: int) -> str:
    """The parameter of ``config.pbtxt`` that holds a version's card as JSON."""
    return f"actverse.card.{version}"


def new_candidate(model: str) -> str:
    """A name under which a version of ``model`` is tried, of this one trial alone.

    Not a version of ``model`` itself: Triton answers a request that names no version
    with the highest one loaded, tried or not.
    """
    return f"{_CANDIDATE}{model}.{uuid.uuid4().hex[:8]}"


def is_candidate(model: str) -> bool:
    """Whether a name is one of ``new_candidate``."""
    return model.startswith(_CANDIDATE)


class ModelRepository:
    """The repository that a Triton server reads.

    Its methods raise Unavailable when the storage does not answer.

    Args:
        settings: the storage, threads and accelerator are read.
    """

    def __init__(self, settings: Settings) -> None:
        self.root = settings.layout.models()
        self._settings = settings
        self._threads = settings.triton_threads
        self._accelerator = settings.triton_accelerator
        self._device = settings.triton_device
        self._limits = {
            "actverse.answer_seconds": f"{settings.model_answer_seconds:g}",
            "actverse.memory_bytes": str(settings.model_memory_bytes),
        }

    @cached_property
    def _store(self) -> Storage | None:
        """What Triton reads, where it does not read the local files themselves."""
        remote = self._settings.root.startswith("s3://")
        return open_storage(self._settings) if remote else None

    def prepare(self) -> None:
        """Make the repository be there, for Triton to start over."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self._store is not None:
            key = self._store.key_of(self.root)
            if next(iter(self._store.files(key, limit=1)), None) is None:
                self._store.write(f"{key}/{_README}", [_README_TEXT], max_bytes=len(_README_TEXT))

    def version_folder(self, model: str, version: int) -> Path:
        """``{model}/{version}/``."""
        return self.root / model / str(version)

    def onnx(self, model: str, version: int) -> Path:
        """``{model}/{version}/model.onnx``."""
        return self.version_folder(model, version) / ONNX_FILE

    def read_parity_set(self, model: str, version: int) -> ParitySet:
        """The parity set of ``{model}/{version}/parity_set/``.

        Raises:
            NotFound, BadInput: if it is missing or cannot be used.
        """
        folder = self.version_folder(model, version) / PARITY_FOLDER
        if self._store is not None:
            self._store.bring(folder, exact=True)
        return ParitySet.read(folder)

    def write_version(self, model: str, version: int, *, onnx: Path, parity_set: Path) -> None:
        """Put a version's files in place; Triton sees them at its next load.

        Raises:
            StorageFull: when the disk is full.
        """
        folder = self.version_folder(model, version)
        with disk_errors(f"version {version} of the model {model}"), whole_folder(folder) as beside:
            link_or_copy(onnx, beside / ONNX_FILE)
            shutil.copytree(parity_set, beside / PARITY_FOLDER, copy_function=link_or_copy)
        if self._store is not None:
            self._store.keep(folder)

    def remove_model(self, model: str) -> None:
        """Remove a model's folder."""
        shutil.rmtree(self.root / model, ignore_errors=True)
        if self._store is not None:
            self._store.delete(self._store.key_of(self.root / model))

    def remove_retired(self, model: str, retired: set[int]) -> None:
        """Remove versions from S3 that ``config.pbtxt`` does not name.

        Triton fetches the whole folder of a model each time it loads it. A folder as the
        storage keeps them.
        """
        if self._store is not None:
            for version in retired - self.served_versions(model):
                self._store.delete(self._store.key_of(self.version_folder(model, version)))

    def abandoned_candidates(self, model: str, seconds: float) -> list[str]:
        """The candidates of ``model`` that nobody has written to for so long."""
        ours = re.compile(re.escape(_CANDIDATE + model) + r"\.[0-9a-f]{8}")
        written: dict[str, float] = {}
        for name, moment in self._written():
            if ours.fullmatch(name):
                written[name] = max(moment, written.get(name, 0.0))
        return sorted(name for name, moment in written.items() if moment < time.time() - seconds)

    def _written(self) -> Iterator[tuple[str, float]]:
        """Candidates' folders, with a moment in which each was written to (Unix time)."""
        if self._store is None:
            for path in self.root.glob(f"{_CANDIDATE}*"):
                with suppress(FileNotFoundError):
                    yield path.name, path.stat().st_mtime
            return
        key = self._store.key_of(self.root)
        for file in self._store.files(key, after=f"{key}/{_CANDIDATE}"):
            name = file.key.removeprefix(f"{key}/").partition("/")[0]
            if not is_candidate(name):
                return
            yield name, file.modified.timestamp()

    def write_config(self, model: str, versions: set[int]) -> None:
        """Write ``config.pbtxt`` as ``config_for`` has it."""
        self.put_config(model, self.config_for(model, versions))

    def config_for(self, model: str, versions: set[int]) -> str:
        """The text of a ``config.pbtxt`` by which just ``versions`` are served.

        A request that names no version is answered by the highest of them.

        Raises:
            NotFound: if a version's file is missing.
            BadInput: if the versions' tensors differ: one configuration describes them all.
        """
        files = {version: self._onnx_here(model, version) for version in versions}
        described = {version: read_tensors(path) for version, path in files.items()}
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
                model_config_pb2.ModelInstanceGroup(count=1, kind=_KINDS[self._device])
            ],
        )
        config.version_policy.specific.versions.extend(sorted(versions))
        if self._accelerator and self._device == "cpu":
            accelerators = config.optimization.execution_accelerators
            accelerators.cpu_execution_accelerator.add(name=self._accelerator)
        config.parameters["intra_op_thread_count"].string_value = str(self._threads)
        config.parameters["inter_op_thread_count"].string_value = "1"
        # What our backend ends a request by; NVIDIA's knows neither.
        for name, limit in self._limits.items():
            config.parameters[name].string_value = limit
        for version in sorted(versions):
            card = read_card(files[version])
            config.parameters[card_parameter(version)].string_value = card.model_dump_json()
        text: str = text_format.MessageToString(config)
        return text

    def config_text(self, model: str) -> str | None:
        """``config.pbtxt`` as it stands, or None."""
        path = self.root / model / CONFIG_FILE
        if self._store is None:
            return path.read_text(encoding="utf-8") if path.exists() else None
        try:
            return b"".join(self._store.read(self._store.key_of(path))).decode()
        except NotFound:
            return None

    def put_config(self, model: str, text: str | None) -> None:
        """Write this ``config.pbtxt``, or remove it, so that ``config_text`` gives it back."""
        path = self.root / model / CONFIG_FILE
        if text is None:
            path.unlink(missing_ok=True)
            if self._store is not None:
                self._store.delete(self._store.key_of(path))
        else:
            write_text(path, text)
            if self._store is not None:
                self._store.keep(path)

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
            one, two = self._onnx_here(model, version), self._onnx_here(model, other)
            return read_tensors(one) == read_tensors(two)
        except (NotFound, BadInput):
            return False

    def _onnx_here(self, model: str, version: int) -> Path:
        path = self.onnx(model, version)
        return path if self._store is None else self._store.bring(path)


def _tensor(kind: type, spec: TensorSpec) -> object:
    return kind(
        name=spec.name, data_type=model_config_pb2.DataType.Value(spec.kind), dims=spec.dims
    )
