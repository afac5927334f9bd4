"""A Triton backend named ``onnxruntime``, written as a Python-based backend.

Serves the standard repository layout (``NAME/VERSION/model.onnx`` and ``config.pbtxt``
with ``backend: "onnxruntime"``), the very files that NVIDIA's own ONNX Runtime backend
serves. This file runs inside Triton's Python stub, in Triton's environment (numpy 1.26):
it imports nothing of actverse. Triton starts one stub for each instance that the
model's ``instance_group`` asks for.

Read from the model's configuration, under the names published in
https://github.com/triton-inference-server/onnxruntime_backend#readme:

- parameters ``intra_op_thread_count``, ``inter_op_thread_count``, ``execution_mode``,
  ``enable_mem_arena``, ``enable_mem_pattern``, ``memory.enable_memory_arena_shrinkage``,
  ``session.use_device_allocator_for_initializers``;
- ``optimization.graph.level``: -1 basic, 1 extended, 2 none; all when unset;
- ``optimization.execution_accelerators.cpu_execution_accelerator`` named ``openvino``:
  the OpenVINO runtime reads the file instead. Its parameters are those of ONNX Runtime's
  OpenVINO provider: ``precision`` (FP32, FP16, BF16; OpenVINO's choice when unset) and
  ``num_of_threads`` (``intra_op_thread_count`` when unset).

Requests are run one by one; outputs that a request does not name are not computed.

Nobody vouches for a graph: it may loop for ever, for some inputs only, or ask for any amount of
memory. So there are limits, which NVIDIA's own backend does not have:

- parameter ``actverse.answer_seconds``: after it a request is ended and answered with an error.
  What does not end then, since a single operator takes so long, ends with this process, which
  Triton answers for;
- parameter ``actverse.memory_bytes``: what this process may allocate. What asks for more gets
  an error, or ends this process;
- loading may take ``LOAD_SECONDS``.
"""

import json
import os
import re
import resource
import signal
import threading
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Config = dict[str, Any]

ANSWER_SECONDS, MEMORY_BYTES = "45", str(8 * 2**30)
LOAD_SECONDS = 90
# From asking a runtime to end to ending this process.
GRACE_SECONDS = 5

# What ONNX Runtime calls a tensor's element type, and what Triton's config does.
TRITON_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}


SHRINKAGE = "memory.enable_memory_arena_shrinkage"


class EndOfProcess:
    """Ends this process when the block takes too long, whatever a library is at then.

    The signal has no handler: what it does by default needs no Python.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory(config: Config) -> None:
    """Let this process allocate no more than the configuration says."""
    most = int(parameter(config, "actverse.memory_bytes", MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def too_late(seconds: float) -> TimeoutError:
    return TimeoutError(f"the model does not answer within {seconds:g} s")


class OnnxRuntimeSession:
    """The file in an ONNX Runtime session on the CPU."""

    def __init__(self, path: str, config: Config) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameter(config, "intra_op_thread_count", "0"))
        options.inter_op_num_threads = int(parameter(config, "inter_op_thread_count", "0"))
        options.execution_mode = (
            onnxruntime.ExecutionMode.ORT_PARALLEL
            if int(parameter(config, "execution_mode", "0"))
            else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        )
        options.enable_cpu_mem_arena = flag(parameter(config, "enable_mem_arena", "1"))
        options.enable_mem_pattern = flag(parameter(config, "enable_mem_pattern", "1"))
        key = "session.use_device_allocator_for_initializers"
        options.add_session_config_entry(key, parameter(config, key, "0"))
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = {
            -1: levels.ORT_ENABLE_BASIC,
            1: levels.ORT_ENABLE_EXTENDED,
            2: levels.ORT_DISABLE_ALL,
        }.get(graph_level(config), levels.ORT_ENABLE_ALL)
        self.new_run_options = onnxruntime.RunOptions
        self.shrinkage = parameter(config, SHRINKAGE, "")
        self.seconds = float(parameter(config, "actverse.answer_seconds", ANSWER_SECONDS))
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.strings = {
            tensor.name for tensor in self.session.get_inputs() if tensor.type == "tensor(string)"
        }

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name in self.strings & inputs.keys():
            inputs[name] = np.vectorize(bytes.decode, otypes=[object])(inputs[name])
        options = self.new_run_options()
        if self.shrinkage:
            options.add_run_config_entry(SHRINKAGE, self.shrinkage)
        late = threading.Event()

        def end() -> None:
            late.set()
            # Looked at before each node of the graph, also in the body of a loop.
            options.terminate = True

        timer = threading.Timer(self.seconds, end)
        timer.daemon = True
        timer.start()
        try:
            return self.session.run(names, inputs, options)
        except Exception as error:
            if late.is_set():
                raise too_late(self.seconds) from error
            raise
        finally:
            timer.cancel()


class OpenVinoSession:
    """The file compiled by OpenVINO for the CPU."""

    def __init__(self, path: str, config: Config, accelerator: Config) -> None:
        import openvino

        asked = accelerator.get("parameters", {})
        threads = asked.get("num_of_threads") or parameter(config, "intra_op_thread_count", "0")
        properties = {"INFERENCE_NUM_THREADS": threads} if int(threads) else {}
        if precision := asked.get("precision"):
            names = {"FP32": "f32", "FP16": "f16", "BF16": "bf16"}
            if precision.upper() not in names:
                raise pb_utils.TritonModelException(
                    f"The openvino accelerator has no precision {precision!r}: "
                    "take FP32, FP16 or BF16."
                )
            properties["INFERENCE_PRECISION_HINT"] = names[precision.upper()]
        self.seconds = float(parameter(config, "actverse.answer_seconds", ANSWER_SECONDS))
        core = openvino.Core()
        self.request = core.compile_model(path, "CPU", properties).create_infer_request()

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.request.start_async(inputs)
        if not self.request.wait_for(round(self.seconds * 1000)):
            self.request.cancel()
            # Only what has ended may be asked again.
            self.request.wait()
            raise too_late(self.seconds)
        # Raises what the inference did.
        self.request.wait()
        # The request owns its output tensors and overwrites them with the next one.
        return [self.request.get_tensor(name).data.copy() for name in names]


class TritonPythonModel:
    """One instance of a model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in the inputs and outputs that the configuration leaves out."""
        config = auto_complete_model_config.as_dict()
        if config["input"] and config["output"]:
            return auto_complete_model_config
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        limit_memory(config)
        with EndOfProcess(LOAD_SECONDS):
            session = onnxruntime.InferenceSession(
                own_file(), options, providers=["CPUExecutionProvider"]
            )
        if not config["input"]:
            for tensor in session.get_inputs():
                auto_complete_model_config.add_input(described(tensor))
        if not config["output"]:
            for tensor in session.get_outputs():
                auto_complete_model_config.add_output(described(tensor))
        auto_complete_model_config.set_max_batch_size(config.get("max_batch_size", 0))
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version's file."""
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":
            raise pb_utils.TritonModelException(
                "This onnxruntime backend runs on the CPU only: give the instance_group KIND_CPU."
            )
        limit_memory(config)
        self.seconds = float(parameter(config, "actverse.answer_seconds", ANSWER_SECONDS))
        path = os.path.join(  # noqa: PTH118 - as the other paths in Triton's arguments
            args["model_repository"], args["model_version"], filename(config)
        )
        self.dtypes = {
            output["name"]: pb_utils.triton_string_to_numpy(output["data_type"])
            for output in config["output"]
        }
        accelerator = openvino_accelerator(config)
        with EndOfProcess(LOAD_SECONDS):
            if accelerator is None:
                session: OnnxRuntimeSession | OpenVinoSession = OnnxRuntimeSession(path, config)
            else:
                session = OpenVinoSession(path, config, accelerator)
        self.session = session

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; the fault of one is the answer to that one alone."""
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        try:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            names = [name for name in self.dtypes if name in request.requested_output_names()]
            with EndOfProcess(self.seconds + GRACE_SECONDS):
                arrays = self.session.run(names, inputs)
            outputs = [
                pb_utils.Tensor(name, as_declared(array, self.dtypes[name]))
                for name, array in zip(names, arrays)  # noqa: B905
            ]
        # Whatever a graph does with one request's values must not reach the other requests.
        except Exception as error:  # noqa: BLE001
            return pb_utils.InferenceResponse(
                output_tensors=[], error=pb_utils.TritonError(f"{type(error).__name__}: {error}")
            )
        return pb_utils.InferenceResponse(output_tensors=outputs)


def as_declared(array: np.ndarray, dtype: Any) -> np.ndarray:
    """The array in C order, of the type that the configuration promises to clients."""
    return np.ascontiguousarray(array, dtype).reshape(np.shape(array))


def parameter(config: Config, name: str, default: str) -> str:
    """A model parameter's string value."""
    return config.get("parameters", {}).get(name, {}).get("string_value") or default


def flag(text: str) -> bool:
    return text.lower() in ("1", "true")


def graph_level(config: Config) -> int:
    return int((config.get("optimization") or {}).get("graph", {}).get("level", 0))


def openvino_accelerator(config: Config) -> Config | None:
    """The accelerator's entry where the configuration asks for OpenVINO, else None."""
    accelerators = (config.get("optimization") or {}).get("execution_accelerators") or {}
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        if accelerator["name"] != "openvino":
            raise pb_utils.TritonModelException(
                f"The execution accelerator {accelerator['name']!r} is unknown here: "
                "take openvino or none."
            )
        return accelerator
    return None


def filename(config: Config) -> str:
    return config.get("default_model_filename") or "model.onnx"


def own_file() -> str:
    """The path of the version's file.

    Triton does not tell ``auto_complete_config`` where the model lies; the first of the
    stub's own arguments does.
    """
    with open("/proc/self/cmdline", "rb") as stream:  # noqa: PTH123
        return stream.read().decode().split("\0")[1]


def described(tensor: Any) -> Config:
    """A tensor of the graph as Triton's configuration describes it."""
    kind = re.fullmatch(r"tensor\((\w+)\)", tensor.type)
    if not kind or kind[1] not in TRITON_TYPES:
        raise pb_utils.TritonModelException(
            f"The tensor {tensor.name!r} is a {tensor.type}, which cannot be served."
        )
    dims = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "data_type": TRITON_TYPES[kind[1]], "dims": dims}
