"""A served model over gRPC: one version, pinned, with frames by shared memory where it can be."""

import logging
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Self

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from components.errors import NotFound, StorageFull
from components.served_model import CONFIDENCE, IMAGES, IOU, ModelCard, model_inputs
from components.serving.control import as_our_error, control_headers, triton_errors
from components.serving.repository import card_parameter
from components.serving.shared_memory import SharedBlock, on_this_host

_log = logging.getLogger(__name__)

_TYPES = {"uint8": "UINT8", "float32": "FP32"}

Outputs = dict[str, np.ndarray]


class TritonModel:
    """One version of a model on a Triton server; a context manager.

    Args:
        url: host:port of Triton's gRPC service.
        model, version: what to ask; the version is pinned, so that a promotion in the
            middle of an analysis does not change its answers.
        shared_memory: hand frames over in shared memory, where Triton is on this host;
            elsewhere, and where that fails, they go over the connection.
        key: what Triton asks of who shares memory with it; who has no key sends frames over
            the connection.
        timeout: seconds that one answer may take. Be generous: Triton before 24.12 can crash
            when a request is cancelled or its deadline runs out
            (https://github.com/triton-inference-server/server/pull/7840).
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int,
        *,
        shared_memory: bool,
        key: str = "",
        timeout: float = 60.0,
    ) -> None:
        self.url, self.model, self.version = url, model, version
        self.timeout = timeout
        self._shared_memory = shared_memory and on_this_host(url)
        self._what = f"version {version} of the model {model}"
        self._client = grpcclient.InferenceServerClient(url)
        self._headers = control_headers(key)
        self._slots: list[Slot] = []
        self._card: ModelCard | None = None

    @property
    def card(self) -> ModelCard:
        """The version's card, as the server's configuration of the model carries it.

        Raises:
            NotFound: if that version is not served, or carries no card.
            Unavailable: if the server does not answer.
        """
        if self._card is None:
            with triton_errors(self.url, self._what):
                answer = self._client.get_model_config(
                    self.model, str(self.version), client_timeout=self.timeout
                )
            text = answer.config.parameters[card_parameter(self.version)].string_value
            if not text:
                raise NotFound(f"Triton has no card of {self._what}: promote it with actverse.")
            self._card = ModelCard.model_validate_json(text)
        return self._card

    def infer(self, images: np.ndarray, *, confidence: float, iou: float) -> Outputs:
        """The output tensors by name for (N, H, W, 3) uint8 frames.

        See ``components/served_model.py`` for their types and shapes.

        Raises:
            NotFound: if that version is not served.
            StepFailed: if the inference failed.
            Unavailable: if the server does not answer in time.
        """
        return self.ask(images, confidence=confidence, iou=iou).result()

    def ask(self, images: np.ndarray, *, confidence: float, iou: float) -> "Future[Outputs]":
        """As ``infer``, without waiting for the answer."""
        tensors = model_inputs(images, confidence=confidence, iou=iou)
        return self._submit([_sent(name, array) for name, array in tensors.items()])

    def slots(self, count: int, images_nhw: tuple[int, int, int]) -> list["Slot"]:
        """Make ``count`` slots that each take up to N frames of H x W at a time.

        With several of them one is filled while the server works on the others.
        """
        made = [Slot(self, int(np.prod(images_nhw)) * 3) for _ in range(count)]
        self._slots += made
        return made

    def _submit(self, inputs: list[Any]) -> "Future[Outputs]":
        future: Future[Outputs] = Future()

        def answered(result: Any, error: InferenceServerException | None) -> None:
            if error is not None:
                future.set_exception(as_our_error(error, self.url, self._what))
                return
            names = [output.name for output in result.get_response().outputs]
            future.set_result({name: result.as_numpy(name) for name in names})

        self._client.async_infer(
            self.model,
            inputs,
            answered,
            model_version=str(self.version),
            client_timeout=self.timeout,
        )
        return future

    def _share(self, size: int) -> SharedBlock | None:
        """A block that Triton has mapped too, or None where that cannot be."""
        if not self._shared_memory:
            return None
        try:
            block = SharedBlock(size)
        except (StorageFull, OSError):  # none is free, or this system has no such thing
            return None
        try:
            self._client.register_system_shared_memory(
                *(block.key[1:], block.key, size),
                headers=self._headers,
                client_timeout=self.timeout,
            )
        except InferenceServerException:
            # Triton asks for a key that we have not, runs in a container, or as somebody who
            # may not read the block.
            block.unlink()
            self._shared_memory = False
            return None
        except BaseException:
            block.unlink()
            raise
        return block

    def _unshare(self, block: SharedBlock) -> None:
        try:
            self._client.unregister_system_shared_memory(
                block.key[1:], headers=self._headers, client_timeout=self.timeout
            )
        except InferenceServerException as error:
            # A server that went away has forgotten the block by itself.
            _log.info("Triton at %s kept a shared block: %s", self.url, error)
        finally:
            block.unlink()

    def close(self) -> None:
        """Wait for what is under way, give the shared memory back, close the connection.

        After Triton was away or restarted, close this one and open another.
        """
        slots, self._slots = self._slots, []
        for slot in slots:
            slot.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Slot:
    """Room for one batch on its way to a TritonModel; made by ``TritonModel.slots``.

    Fill ``images(...)``, then ``submit(...)``; fill it again when that answer is there.
    """

    def __init__(self, model: TritonModel, size: int) -> None:
        self._model = model
        self._block = model._share(size)
        memory = self._block.memory if self._block else bytearray(size)
        self._bytes = np.frombuffer(memory, np.uint8)
        self._shape: tuple[int, ...] = (0, 0, 0, 3)
        self._pending: Future[Outputs] | None = None

    @property
    def shared(self) -> bool:
        """Whether the server reads the frames where they are written."""
        return self._block is not None

    def images(self, n: int, height: int, width: int) -> np.ndarray:
        """A view (n, height, width, 3) uint8 to write the next batch into.

        Raises:
            ValueError: if it is larger than the slot was made for.
        """
        self._shape = (n, height, width, 3)
        return self._bytes[: self._size()].reshape(self._shape)

    def submit(self, *, confidence: float, iou: float) -> "Future[Outputs]":
        """Ask for the findings in what was written last.

        Returns:
            The outputs by name, or NotFound, StepFailed or Unavailable as from
            ``TritonModel.infer``.
        """
        images = self._bytes[: self._size()].reshape(self._shape)
        tensors = model_inputs(images, confidence=confidence, iou=iou)
        if self._block is None:
            inputs = [_sent(name, array) for name, array in tensors.items()]
        else:
            inputs = [_sent(name, tensors[name]) for name in (CONFIDENCE, IOU)]
            shared = grpcclient.InferInput(IMAGES, list(self._shape), "UINT8")
            shared.set_shared_memory(self._block.key[1:], self._size())
            inputs.append(shared)
        self._pending = self._model._submit(inputs)
        return self._pending

    def _size(self) -> int:
        return int(np.prod(self._shape))

    def close(self) -> None:
        """Wait for what is under way and give the memory back."""
        if self._pending is not None:
            wait([self._pending], timeout=self._model.timeout)
        block, self._block = self._block, None
        if block is not None:
            self._model._unshare(block)


def _sent(name: str, array: np.ndarray) -> Any:
    """An input tensor whose bytes go over the connection."""
    tensor = grpcclient.InferInput(name, list(array.shape), _TYPES[array.dtype.name])
    tensor.set_data_from_numpy(array)
    return tensor
