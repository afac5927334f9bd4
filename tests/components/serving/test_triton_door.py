"""What Triton lets in: with the key and without, over gRPC and by HTTP, and for models."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from components.errors import StepFailed
from components.serving.client import TritonModel
from components.serving.control import TritonControl, control_headers
from components.serving.repository import ModelRepository
from components.serving.server import SHARED_MEMORY
from tests.helpers.servers import TritonServer, new_triton

KEY = "a key of these tests, as long as ours are"
WRONG = "another key of the same length as it is.."

# Writes a file as soon as it is imported: its code has run.
EVIL = """
open({mark!r}, "w").close()
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
TENSORS = """
input [{ name: "a" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "b" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton as the embedded stack has it: no HTTP, a key, what it makes its owner's alone."""
    server = new_triton(tmp_path_factory.mktemp("guarded"), triton_control_key=KEY)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(guarded: TritonServer) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(guarded.url) as client:
        yield client


def test_its_command_line_shows_no_key_and_its_log_none(guarded: TritonServer):
    assert guarded.process is not None
    line = Path(f"/proc/{guarded.process.pid}/cmdline").read_bytes()
    assert line.split(b"\0")[0].endswith(b"/tritonserver")
    for found in (line, guarded.log.read_bytes(), "\0".join(guarded.launch.argv).encode()):
        assert KEY.encode() not in found


@pytest.mark.parametrize("key", ["", WRONG], ids=["no key", "another key"])
def test_who_has_no_key_changes_nothing(
    guarded: TritonServer, client: grpcclient.InferenceServerClient, key: str
):
    headers = control_headers(key)
    attempts = {
        "load": lambda: client.load_model("any", headers=headers),
        "load with files": lambda: client.load_model(
            "any",
            headers=headers,
            config='{"backend": "python"}',
            files={"file:1/model.py": b"raise SystemExit"},
        ),
        "unload": lambda: client.unload_model("any", headers=headers),
        "index": lambda: client.get_model_repository_index(headers=headers),
        "share memory": lambda: client.register_system_shared_memory(
            "any", "/any", 1, headers=headers
        ),
        "unshare": lambda: client.unregister_system_shared_memory(headers=headers),
        "list shared memory": lambda: client.get_system_shared_memory_status(headers=headers),
        "share a GPU's": lambda: client.get_cuda_shared_memory_status(headers=headers),
        "trace": lambda: client.update_trace_settings(
            settings={"trace_file": "/tmp/any"},
            headers=headers,
        ),
        "log": lambda: client.update_log_settings({"log_verbose_level": 1}, headers=headers),
    }
    for what, attempt in attempts.items():
        with pytest.raises(InferenceServerException, match="restricted") as refused:
            attempt()
        assert KEY not in str(refused.value), what
    # What anybody may: see what is served.
    assert client.is_server_live()
    client.get_inference_statistics()


@pytest.mark.parametrize("backend", ["python", "Python", "onnxruntime"])
@pytest.mark.parametrize("runtime", ["", "model.py", "libtriton_python.so"])
def test_a_model_brings_no_code_of_its_own(
    guarded: TritonServer, tmp_path: Path, backend: str, runtime: str
):
    """In its folder in the repository, or sent with the request by who has the key."""
    mark = tmp_path / "it_ran"
    code = EVIL.format(mark=str(mark))
    name = f"evil_{backend}_{runtime}".replace(".", "_")
    folder = guarded.repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    config = f'name: "{name}"\nbackend: "{backend}"\nruntime: "{runtime}"\n{TENSORS}'
    (folder.parent / "config.pbtxt").write_text(config)
    with (
        TritonControl(guarded.url, key=KEY) as control,
        pytest.raises(StepFailed, match="load failed"),
    ):
        control.load(name)
    override = (
        f'{{"backend": "{backend}", "runtime": "{runtime}", '
        '"input": [{"name": "a", "data_type": "TYPE_FP32", "dims": [1]}], '
        '"output": [{"name": "b", "data_type": "TYPE_FP32", "dims": [1]}]}'
    )
    with (
        grpcclient.InferenceServerClient(guarded.url) as client,
        pytest.raises(InferenceServerException, match="load failed"),
    ):
        client.load_model(
            f"sent_{name}",
            headers=control_headers(KEY),
            config=override,
            files={"file:1/model.py": code.encode()},
        )
    assert not mark.exists()


def test_frames_are_shared_with_the_key_and_sent_without_it(guarded: TritonServer, tmp_path: Path):
    from tests.helpers.exports import IMAGES, write_export

    repository = ModelRepository(guarded.settings)
    _put(repository, write_export(tmp_path / "export", seed=3))
    with TritonControl(guarded.url, key=KEY) as control:
        control.load("shown")
    found = {}
    for key in (KEY, "", WRONG):
        with TritonModel(guarded.url, "shown", 1, shared_memory=True, key=key) as model:
            (slot,) = model.slots(1, IMAGES.shape[:3])
            assert slot.shared is (key == KEY)
            slot.images(*IMAGES.shape[:3])[:] = IMAGES
            found[key] = slot.submit(confidence=0.25, iou=0.7).result()
    for answer in found.values():
        np.testing.assert_array_equal(answer["boxes"], found[KEY]["boxes"])
    regions = list(SHARED_MEMORY.glob(f"{guarded.launch.shared_memory_prefix}*"))
    assert regions
    for region in regions:
        assert stat.S_IMODE(region.stat().st_mode) == 0o600, region


def test_a_page_in_a_browser_finds_nothing_to_speak_with(guarded: TritonServer):
    """It speaks HTTP/1.1 and HTTP/2 with headers of its own: gRPC answers none of it."""
    load = "/v2/repository/models/any/load"
    assert guarded.process is not None
    ports = _listening(guarded.process.pid)
    grpc = int(guarded.url.rpartition(":")[2])
    assert len(ports) == 2
    assert grpc in ports
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://{guarded.url}{load}", content="{}", timeout=5)
    (metrics,) = ports - {grpc}
    page = {"Origin": "http://evil.localhost:8080", "Content-Type": "text/plain"}
    assert httpx.post(f"http://127.0.0.1:{metrics}{load}", content="{}", headers=page).is_error
    assert httpx.get(f"http://127.0.0.1:{metrics}/metrics").is_success


def test_a_body_in_many_chunks_does_not_end_it(guarded: TritonServer):
    """CVE-2025-23310 and 23311: its HTTP server kept the chunks of a body on the stack."""
    assert guarded.process is not None
    grpc = int(guarded.url.rpartition(":")[2])
    (metrics,) = _listening(guarded.process.pid) - {grpc}
    chunks = b"1\r\nA\r\n" * 600_000  # 3.6 MB
    for port in (metrics, grpc):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(
                b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            try:
                connection.sendall(chunks + b"0\r\n\r\n")
                connection.recv(1024)
            except (ConnectionError, TimeoutError):
                pass  # it may hang up; it may not die
    with grpcclient.InferenceServerClient(guarded.url) as client:
        assert client.is_server_live()
    assert guarded.process.poll() is None


def _put(repository: ModelRepository, export: Path) -> None:
    import shutil

    target = repository.onnx("shown", 1)
    target.parent.mkdir(parents=True)
    shutil.copy2(export / "model.onnx", target)
    repository.write_config("shown", {1})


def _listening(pid: int) -> set[int]:
    import psutil

    found = psutil.Process(pid).net_connections("inet")
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
