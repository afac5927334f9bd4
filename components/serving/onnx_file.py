"""What may be served: an ONNX file that is whole, self-contained and of standard operators."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput, NotFound
from components.served_model import CONFIDENCE, IMAGES, IOU, ModelCard

MAX_BYTES = 2 * 2**30
"""Protobuf's own limit: a file with all of its weights inside cannot be larger."""

_STANDARD = ("", "ai.onnx")

_TRITON_TYPES = {
    "BOOL": "TYPE_BOOL",
    "UINT8": "TYPE_UINT8",
    "UINT16": "TYPE_UINT16",
    "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64",
    "INT8": "TYPE_INT8",
    "INT16": "TYPE_INT16",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "FLOAT16": "TYPE_FP16",
    "FLOAT": "TYPE_FP32",
    "DOUBLE": "TYPE_FP64",
    "STRING": "TYPE_STRING",
}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the graph: Triton's name of its type, and its shape with -1 where open."""

    name: str
    kind: str
    dims: tuple[int, ...]


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path.name} is larger than {MAX_BYTES} bytes: export a smaller model.")
        return onnx.load(str(path), load_external_data=False)
    except FileNotFoundError as error:
        raise NotFound(f"There is no {path}: register the model again.") from error
    except (DecodeError, OSError) as error:
        raise BadInput(
            f"{path.name} is not a whole ONNX file ({error}): register it again."
        ) from error


def check_onnx(path: Path) -> ModelCard:
    """Check that a file may be loaded at all, without running any of it.

    Returns:
        The card in its metadata.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it is too large, cut off or not valid; if tensors lie outside of it (a
            path to them could name any file of the server); if it needs operators other
            than the standard's (those are a plug-in's code); if it carries no card or its
            tensors are not those of ``components/served_model.py``.
    """
    import onnx

    model = _load(path)
    domains = {entry.domain for entry in model.opset_import} | {
        entry.domain for entry in model.functions
    }
    if foreign := sorted(domains - set(_STANDARD)):
        raise BadInput(
            f"{path.name} needs operators of {', '.join(foreign)}, which are not the standard's: "
            "export it with standard operators only."
        )
    if outside := _external_tensors(model):
        raise BadInput(
            f"{path.name} keeps the tensor {outside[0]!r} outside of itself: "
            "export it with all of its weights inside."
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"{path.name} is not a valid model ({reason}): export it again.") from error
    card = read_card(path)
    inputs, outputs = read_tensors(path)
    if {spec.name for spec in inputs} != {IMAGES, CONFIDENCE, IOU} or {
        spec.name for spec in outputs
    } != set(card.outputs):
        raise BadInput(
            f"{path.name} has tensors other than the served model's contract: "
            "export it with actverse."
        )
    return card


def _external_tensors(model: Any) -> list[str]:
    """The names of all tensors whose data lie in another file, also inside subgraphs."""
    import onnx

    found = []

    def visit(message: Any) -> None:
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                found.append(message.name)
            return
        for field, value in message.ListFields():
            if field.message_type is not None:
                # A single message and a list of them look alike from here.
                for part in value if _is_list(value) else [value]:
                    visit(part)

    visit(model)
    return found


def _is_list(value: Any) -> bool:
    return not hasattr(value, "ListFields")


def read_card(path: Path) -> ModelCard:
    """The card in a file's metadata.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it cannot be read or carries no card.
    """
    model = _load(path)
    return ModelCard.from_metadata({entry.key: entry.value for entry in model.metadata_props})


def read_tensors(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of a file's graph.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it cannot be read, or a tensor's type cannot be served.
    """
    graph = _load(path).graph
    initial = {tensor.name for tensor in graph.initializer}
    return (
        tuple(_spec(value) for value in graph.input if value.name not in initial),
        tuple(_spec(value) for value in graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    kind = _TRITON_TYPES.get(onnx.TensorProto.DataType.Name(tensor.elem_type))
    if kind is None:
        raise BadInput(f"The tensor {value.name!r} is of a type that cannot be served.")
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    return TensorSpec(value.name, kind, tuple(dims))
