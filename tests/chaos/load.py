"""The load: two users, a drawn clip, and small tasks of several kinds, some always open."""

import json
import random
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from actverse.client import Client
from actverse.following import ENDED
from actverse.sample import make_sample
from components.errors import ActverseError, TooManyRequests, Unavailable
from components.video.extract import uniform_indices
from components.video.writer import Mp4Writer
from tests.chaos.findings import Finding, Log
from tests.chaos.stack import StackUnderTest
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model
from tests.helpers.web import body, serving

USERS = ("ada", "bob")
FRAMES, LABELLED, LONG = 90, 30, 480
EXTRACTED = 12
# As small as can be: what is killed is to be the whole way, not the learning.
TRAINING = {"epochs": 1, "imgsz": 96, "batch": 8, "threads": 1, "plots": False}
CLIP, LONG_CLIP, LABELS = "chaos/clip.mp4", "chaos/long.mp4", "chaos/labels.zip"
MODEL = "chaos/blobs.onnx"
_SHORT_KINDS = ("infer", "infer", "infer", "extract", "download", "import")
_PATIENCE_SECONDS, _REFERENCE_SECONDS = 300.0, 900.0


@dataclass(frozen=True)
class Asked:
    """A task that was asked for."""

    task_id: str
    user: str
    kind: str


@dataclass(frozen=True)
class Clips:
    """The videos and labels on this machine."""

    clip: Path
    long: Path
    labels: Path
    model: Path
    names: tuple[str, ...]


def draw_clips(folder: Path) -> Clips:
    """Draw them."""
    folder.mkdir(parents=True)
    truth = make_sample(folder / "clip.mp4", frames=FRAMES, wh=(240, 180))
    truth.write_labels(folder / "labels", uniform_indices(FRAMES, LABELLED))
    with Mp4Writer(folder / "long.mp4", wh=(192, 144), fps=25, crf=12) as writer:
        for index in range(LONG):
            writer.write(draw_frame((192, 144), seed=index // 8, blobs=3)[0])
    write_tiny_model(folder / "blobs.onnx", task="detect")
    archive = shutil.make_archive(str(folder / "labels"), "zip", folder / "labels")
    names = tuple(truth.spec.names)
    return Clips(
        folder / "clip.mp4", folder / "long.mp4", Path(archive), folder / "blobs.onnx", names
    )


class Sink:
    """Notes when notifications arrive, by user and title."""

    def __init__(self) -> None:
        self.port = 0
        self.arrived: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._lock = threading.Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        told = json.loads(handler.content)  # type: ignore[attr-defined]
        with self._lock:
            self.arrived[handler.path.strip("/")][told["title"]].append(time.time())
        body(b"")(handler)

    def url(self, user: str) -> str:
        return f"json://127.0.0.1:{self.port}/{user}"


@contextmanager
def running_sink() -> Iterator[Sink]:
    """A sink on the loopback while the block runs."""
    sink = Sink()
    with serving(sink.answer) as server:
        sink.port = server.server_port
        yield sink


class Load:
    """Asks for tasks, waits for the reference ones, and keeps some open while it runs.

    Args:
        most: how many short tasks are open at once; a training is open beside them.
    """

    def __init__(
        self,
        stack: StackUnderTest,
        clips: Clips,
        seed: int,
        most: int,
        log: Log,
        *,
        trainings: bool = True,
    ) -> None:
        self._stack, self._clips, self._most, self._log = stack, clips, most, log
        self._trainings = trainings
        self._rng = random.Random(f"load {seed}")
        self._clients: dict[str, Client] = {}
        self._stopping, self._held = threading.Event(), threading.Event()
        self._wanted: list[str] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="load", daemon=True)
        self._number = 0
        self.asked: list[Asked] = []
        self.references: dict[str, Asked] = {}
        self.open: Callable[[], Counter[str]] = Counter
        self.looks: Callable[[], int] = int

    def prepare(self, sink: Sink) -> None:
        """Make the users with their files and rules, and run one task of each kind, unkilled.

        Raises:
            RuntimeError: if one of them does not succeed: then nothing can be judged.
        """
        address = self._stack.gateway
        with Client(address, self._stack.admin_key()) as admin:
            keys = {user: admin.create_key(user)["key"] for user in USERS}
        for user, key in keys.items():
            client = self._clients[user] = Client(address, key)
            client.upload_file(self._clips.clip, CLIP)
            client.upload_file(self._clips.long, LONG_CLIP)
            client.upload_file(self._clips.labels, LABELS)
            client.upload_file(self._clips.model, MODEL)
            client.create_notification(sink.url(user))
        for user in USERS:
            # The others need its model, or its model's version to be beaten.
            for kind in ("import", "extract", "download", "infer"):
                self._reference(user, kind, model=f"blobs-{user}")
        if self._trainings:
            self._reference(USERS[0], "loop", model=f"chaos-{USERS[0]}")

    def start(self) -> None:
        """Keep tasks open from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_SECONDS)

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()

    def hold(self, held: bool) -> None:
        """Ask for nothing while held, so that what is open comes to its end."""
        self._held.set() if held else self._held.clear()

    def want(self, kind: str) -> None:
        """Ask for a task of a kind next, unless one is open."""
        with self._lock:
            if kind and kind not in self._wanted and not self.open()[_KINDS.get(kind, kind)]:
                self._wanted.append(kind)

    def _keep(self) -> None:
        looked = -1
        while not self._stopping.wait(0.3):
            # What was asked for last has to be seen first, else they would be too many.
            if self._held.is_set() or self.looks() == looked:
                continue
            looked = self.looks()
            kind = self._next()
            if kind is None:
                continue
            user = self._rng.choice(USERS)
            # A new name is promoted at once, one that is served has to be beaten.
            model = f"new-{self._number}"
            if kind == "loop" and self._rng.random() < 0.5:
                model = f"chaos-{user}"
            try:
                self._ask(user, kind, model)
            except ActverseError as error:
                self._log.find(Finding("stack", f"the gateway does not take a task: {error}"))

    def _next(self) -> str | None:
        open_now = self.open()
        with self._lock:
            if self._wanted:
                return self._wanted.pop(0)
        if self._trainings and not open_now["loop"]:
            return "loop"
        short = sum(count for kind, count in open_now.items() if kind != "loop")
        return self._rng.choice(_SHORT_KINDS) if short < self._most else None

    def _reference(self, user: str, kind: str, model: str) -> None:
        asked = self._ask(user, kind, model)
        self._ended_well(asked)
        self.references[f"{kind} {user}"] = asked

    def _ask(self, user: str, kind: str, model: str) -> Asked:
        """Ask until it is answered; one key, so that it is one task."""
        self._number += 1
        name = f"chaos-{self._number}-{user}-{kind}"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                task_id = self._begin(self._clients[user], user, kind, name, model)
                break
            except (Unavailable, TooManyRequests):
                if time.monotonic() > deadline or self._stopping.is_set():
                    raise
                time.sleep(1.0)
        asked = Asked(task_id, user, kind)
        self.asked.append(asked)
        return asked

    def _begin(self, client: Client, user: str, kind: str, name: str, model: str) -> str:
        if kind == "loop":
            return client.create_task(
                f"key:{CLIP}",
                f"key:{LABELS}",
                names=list(self._clips.names),
                model_name=model,
                training=TRAINING,
                confidence=0.1,
                idempotency_key=name,
            )
        if kind == "infer":
            model_task = self.references[f"import {user}"].task_id
            return client.infer(
                model_task, f"key:{LONG_CLIP}", confidence=0.1, idempotency_key=name
            )
        if kind == "import":
            return client.import_model(
                f"key:{MODEL}", model, images=f"key:{CLIP}", idempotency_key=name
            )
        if kind == "extract":
            return client.extract_frames(
                f"key:{CLIP}", EXTRACTED, strategy="uniform", idempotency_key=name
            )
        return client.video_download(f"key:{CLIP}", f"copies/{name}.mp4", idempotency_key=name)

    def _ended_well(self, asked: Asked) -> None:
        client = self._clients[asked.user]
        begun = time.monotonic()
        status = client.wait(asked.task_id, until=ENDED, timeout=_REFERENCE_SECONDS)
        if status["state"] != "succeeded":
            raise RuntimeError(
                f"The unkilled task {asked.task_id} ({asked.kind}) is {status['state']}: "
                f"{status['error']}"
            )
        self._log.say(
            f"reference: {asked.kind} of {asked.user} took {time.monotonic() - begun:.0f} s"
        )


# As the gateway names what is asked for.
_KINDS = {"infer": "inference", "import": "model"}
