"""The gateway's REST interface as a Python object.

from actverse import Client

with Client("https://gateway.example.org", "av_…") as client:
    task_id = client.create_task("mouse.mp4", "labels", names=["mouse"])
    for message in client.watch(task_id):
        print(message.name, message.status and message.status["percent"])
    client.download_results(task_id, "results")
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast
from urllib.parse import quote

import httpx

from actverse.answers import (
    Cancelled,
    Key,
    Labeling,
    Model,
    NewKey,
    OwnFile,
    Results,
    Rule,
    Status,
    TaskSummary,
    Training,
)
from actverse.asking import (
    InferenceOptions,
    LabelFormat,
    LabelingOptions,
    LearningOptions,
    Place,
    Sending,
    Strategy,
    TaskOptions,
    check_task,
    learning_body,
)
from actverse.following import ENDED, Message, follow, status_of, status_path
from actverse.rest import Connection
from actverse.transfers import (
    Remote,
    fetch,
    fetch_archive,
    fetch_unpacked,
    folder_files,
    key_path,
    send,
)
from actverse.uploads import Uploads
from components.errors import NotFound, Unavailable
from components.layout import checked_name
from components.steps import Progress, no_progress


class Client:
    """A connection to one gateway with one API key. Safe to share between threads.

    A method that begins long work returns its task's id at once; ``watch`` and ``wait`` tell
    how it goes on. Whatever stands for a video, a model file or labels is a ``Place``: what
    is local is uploaded first. Answers are plain dicts, described in ``actverse.answers``.

    What may pass by itself (no answer, too many requests) is tried again a few times; a POST
    carries an Idempotency-Key, so that sent twice it makes one task. Every method raises

        BadInput        what was given cannot be used
        NotFound        there is no such thing of yours
        Unauthorized    the API key is unknown or revoked
        Forbidden       the key's user may not do this
        TooManyRequests the key has spent its requests, and waiting did not help
        Unavailable     the gateway, or something that it needs, does not answer

    and what else it names, all of ``components.errors``.

    Args:
        gateway: its address, such as ``https://host:port``.
        api_key: ``av_…``; it is sent to the gateway only.
        user_id: for an administrator: the user to act for.
    """

    def __init__(self, gateway: str, api_key: str, *, user_id: str | None = None) -> None:
        self._connection = Connection(gateway, api_key)
        self._acting = {"user_id": user_id} if user_id else {}

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        return self._connection.address

    # Tasks

    def create_task(
        self,
        video: Place,
        labels: Place | None = None,
        *,
        weights: Place = "",
        progress: Progress = no_progress,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> str:
        """Take a video to a served model and its analysis; return the task's id.

        Args:
            video: what is to be learnt from and analysed.
            labels: a file, folder or archive of YOLO text, COCO JSON, DeepLabCut CSV, Label
                Studio JSON, CVAT XML or a SLEAP package, with images or named after the
                extracted frames; without them the frames are laid out for labelling, and
                the task waits.
            weights: a checkpoint to start from, or a published name such as ``yolo11n.pt``.
            progress: told of uploaded bytes; ``what`` says of which upload.
            idempotency_key: the same one again, with the same request, makes no second task.

        Raises:
            BadInput, BadLabels: before anything is sent, where that can be seen.
            TooLarge, StorageFull: if the gateway does not take so many bytes.
            Conflict: if the idempotency key came with another request before.
        """
        check_task(video, labels, weights, **options)
        body = learning_body(options)
        with self._uploads({"progress": progress, "idempotency_key": idempotency_key}) as uploads:
            if labels is not None:
                body["labels_path"] = uploads.labels(labels, options.get("labels_format"))
            body["file_path"] = uploads.file(video, "video")
            if weights:
                body["training"]["weights"] = uploads.weights(weights)
            return uploads.begin("/tasks/", body)

    def status(self, task_id: str) -> Status:
        """Where a task stands."""
        return status_of(self._connection.call("GET", status_path(task_id)))

    def tasks(self, *states: str) -> Iterator[TaskSummary]:
        """Your tasks, the newest first; an administrator's: everybody's.

        Args:
            states: only those in one of these.
        """
        pages = self._connection.pages("/tasks/", "tasks", state=list(states) or None)
        return cast(Iterator[TaskSummary], pages)

    def watch(
        self,
        task_id: str,
        *,
        after: int = 0,
        patience: float = 300.0,
        told: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Message]:
        """What happens to a task, until it has ended: its timeline, and each new status.

        A connection that breaks is made again, behind the last message.

        Args:
            after: the id of the last message that is known.
            patience: seconds for which a gateway that has gone away is waited for.
            told: hears, in a sentence, when the gateway is away and when it is back.
        """
        return follow(self._connection, task_id, after=after, patience=patience, told=told)

    def wait(
        self,
        task_id: str,
        *,
        until: Collection[str] = ENDED,
        timeout: float | None = None,
        patience: float = 300.0,
    ) -> Status:
        """Wait until a task has ended, well or not; return its status.

        Args:
            until: the states that are waited for; with ``waiting`` among them, also for the
                moment at which people are to label.
            timeout: seconds; None: as long as it takes.
            patience: as ``watch``.

        Raises:
            Unavailable: also if it takes longer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        states = {*until, *ENDED}
        for message in follow(self._connection, task_id, patience=patience, deadline=deadline):
            if message.status and message.status["state"] in states:
                return message.status
        status = self.status(task_id)
        if status["state"] not in states:
            raise Unavailable(
                f"The task {task_id} is {status['state']} after {timeout:g} s: wait for longer."
            )
        return status

    def cancel(self, task_id: str) -> Cancelled:
        """End a task; what it has brought so far is kept, and named in the answer."""
        path = f"/tasks/{checked_name(task_id, 'task id')}"
        return cast(Cancelled, self._connection.call("DELETE", path))

    def results(self, task_id: str) -> Results:
        """A task's result files; while it runs, those that it has written so far.

        Raises:
            NotFound: also if there are none yet.
        """
        path = f"/tasks/{checked_name(task_id, 'task id')}/results"
        after, files = None, []
        while True:
            page = self._connection.call("GET", path, params={"after": after} if after else None)
            files += page["files"]
            if not (after := page["after"]):
                return {"task_id": task_id, "complete": page["complete"], "files": files}

    def download_results(
        self, task_id: str, folder: Place, *, progress: Progress = no_progress
    ) -> list[Path]:
        """Download a task's result files to a folder; those that are there already stay.

        Args:
            progress: told of bytes.

        Raises:
            NotFound: also if there are none yet.
            StorageFull: if the disk here is full.
        """
        path = f"/tasks/{checked_name(task_id, 'task id')}/results"
        files = [
            Remote(
                file["path"],
                f"{path}/{quote(file['path'])}",
                file["bytes"],
                file["modified"],
                file["link"],
            )
            for file in self.results(task_id)["files"]
        ]
        return fetch(self._connection, files, Path(folder), progress)

    # Your own files

    def upload_file(self, path: Place, key: str, *, progress: Progress = no_progress) -> str:
        """Upload a file to a key of yours, whatever was there; return the key.

        Raises:
            BadInput: if there is no such file, or the key is a folder.
            Refused: if it can be no key.
            TooLarge, StorageFull: if the gateway does not take so many bytes.
        """
        send(self._connection, {key: Path(path)}, self._acting, progress)
        return key

    def upload_folder(self, path: Place, key: str, *, progress: Progress = no_progress) -> str:
        """Upload the files of a folder, but for hidden ones, below a key of yours; return it.

        Raises:
            As ``upload_file``.
        """
        files = folder_files(Path(path))
        below = key.rstrip("/")
        targets = {f"{below}/{name}": file for name, file in files.items()}
        send(self._connection, targets, self._acting, progress)
        return below

    def files(self, folder: str = "") -> Iterator[OwnFile]:
        """Your files, by key.

        Args:
            folder: the key of one; empty: all.
        """
        pages = self._connection.pages("/files/", "files", prefix=folder, **self._acting)
        return cast(Iterator[OwnFile], pages)

    def download_folder(
        self, key: str, folder: Place, *, progress: Progress = no_progress
    ) -> list[Path]:
        """Download your files below a key to a folder, as ``download_results``."""
        below = key.rstrip("/") + "/"
        found = [file for file in self.files(key) if file["key"].startswith(below)]
        if not found:
            raise NotFound(f"There is no file below {key!r} among yours: look at the list.")
        query = f"?{httpx.QueryParams(self._acting)}" if self._acting else ""
        files = [
            Remote(
                file["key"].removeprefix(below),
                key_path(file["key"]) + query,
                file["bytes"],
                file["modified"],
            )
            for file in found
        ]
        return fetch(self._connection, files, Path(folder), progress)

    def delete_file(self, key: str) -> int:
        """Delete a file of yours, or a folder with all that is in it; return how many files."""
        answer = self._connection.call("DELETE", key_path(key), params=self._acting)
        return int(answer["files"])

    # Single pieces of the way

    def video_download(self, video: Place, to: str, **sending: Unpack[Sending]) -> str:
        """Fetch a video and check it; it ends up at the key ``to``. Returns the task's id."""
        return self._with_file(
            "/video/download", "file_path", video, {"download_path": to}, sending
        )

    def video_upload(self, video: Place, to: str, **sending: Unpack[Sending]) -> str:
        """Put a video at the key ``to``, unchecked. Returns the task's id."""
        body = {"upload_path": to}
        return self._with_file("/video/upload", "file_path", video, body, sending)

    def extract_frames(
        self,
        video: Place,
        number: int = 120,
        *,
        strategy: Strategy | None = None,
        min_seconds_apart: float | None = None,
        seed: int = 0,
        **sending: Unpack[Sending],
    ) -> str:
        """Extract frames of a video that are worth labelling, to the key ``frames/{task id}``.

        Args:
            strategy: by which they are chosen; by default active where a global model is
                served, else uniform.
            min_seconds_apart: between two of them; by default a quarter of an even spread's.
            seed: decides between frames that are equally good.

        Returns the task's id.
        """
        body = {
            **{"num_frames": number, "strategy": strategy, "seed": seed},
            "min_seconds_apart": min_seconds_apart,
        }
        return self._with_file("/video/extract-frames", "file_path", video, body, sending)

    def request_labels(
        self,
        task_id: str,
        frames: Place,
        *,
        progress: Progress = no_progress,
        **options: Unpack[LabelingOptions],
    ) -> str:
        """Lay a folder of frames out for labelling, in a task that has succeeded; return its id.

        The options are by default the task's own; Label Studio has to be told the names.

        Raises:
            BadInput: if the task has not succeeded, or was asked for labels before.
        """
        with self._uploads({"progress": progress}) as uploads:
            folder = uploads.folder(frames, "frames")
            body = {**options, "folder_path": folder, "task_id": task_id, **self._acting}
            # It can be added once: a second sending would be refused.
            answer = self._connection.call("POST", "/labeling", json=body, once=True)
            return str(answer["task_id"])

    def labeling(self, task_id: str) -> Labeling:
        """How far the labels of a task are."""
        return cast(Labeling, self._connection.call("GET", _labeling_path(task_id)))

    def import_labels(
        self,
        task_id: str,
        labels: Place,
        format: LabelFormat | None = None,
        *,
        progress: Progress = no_progress,
        idempotency_key: str | None = None,
    ) -> str:
        """Bring labels made elsewhere to a task that waits for labels, in place of its own.

        Args:
            labels: a file, folder or archive, named after the task's frames; of a local
                folder the images are not uploaded.
            format: by default told by a look at them.

        Returns the id of the import's own task.

        Raises:
            BadLabels: if there are none; what else is wrong with them, its task says.
            Conflict: if the task does not wait for labels.
        """
        path = f"{_labeling_path(task_id)}/labels"
        with self._uploads({"progress": progress, "idempotency_key": idempotency_key}) as uploads:
            key = uploads.labels(labels, format, images=False)
            return uploads.begin(path, {"labels_path": key, "format": format})

    def export_labels(
        self,
        task_id: str,
        to: Place,
        format: LabelFormat = "yolo",
        *,
        images: bool = False,
        progress: Progress = no_progress,
    ) -> Path:
        """Download a task's labels; while people label, those that were read last.

        Args:
            to: a .zip, or else a folder that they are unpacked into, empty or not there yet.
            images: with the labelled images.
            progress: told of bytes.

        Returns the file or folder.

        Raises:
            BadInput: if the folder holds something, or the format cannot hold the labels.
            Conflict: if no labels of the task have been read yet.
            StorageFull: if the disk here is full.
        """
        asked = httpx.QueryParams({"format": format, "images": images})
        path = f"{_labeling_path(task_id)}/labels?{asked}"
        target = Path(to)
        if target.suffix.lower() == ".zip" and not target.is_dir():
            fetch_archive(self._connection, path, target, progress)
        else:
            fetch_unpacked(self._connection, path, target, progress)
        return target

    def finish_labeling(self, task_id: str) -> Labeling:
        """Let a task go on with the labels that are there, as soon as they suffice.

        Raises:
            Conflict: if it does not wait for labels.
        """
        path = f"{_labeling_path(task_id)}/finish"
        return cast(Labeling, self._connection.call("POST", path, once=True))

    def restore_labeling(self, task_id: str) -> Labeling:
        """Put a project up again that is gone from its tool, with the labels read from it.

        Raises:
            Conflict: if the task does not wait for labels, or they are being looked at.
        """
        path = f"{_labeling_path(task_id)}/restore"
        return cast(Labeling, self._connection.call("POST", path, once=True))

    def next_round(
        self,
        task_id: str,
        *,
        reopen: bool = False,
        frames: int | None = None,
        strategy: Strategy | None = None,
        min_seconds_apart: float | None = None,
        training: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Label more of a task's video and train again, on the labels of all rounds.

        Args:
            task_id: of any of its rounds.
            reopen: label the same frames again, not those of which the model was least sure.
            frames: so many; by default as many as before.
            strategy, min_seconds_apart: as ``extract_frames``; by default active.
            training: settings that are to differ from those of the round before.

        Returns the id of the round's own task.

        Raises:
            NotFound: if there are no labels yet; for new frames, no analysis.
            Conflict: if a round of it is open.
        """
        body = {
            **{"reopen": reopen, "num_frames": frames, "strategy": strategy},
            **{"min_seconds_apart": min_seconds_apart},
            "training": None if training is None else dict(training),
        }
        path = f"{_labeling_path(task_id)}/rounds"
        with self._uploads({"idempotency_key": idempotency_key}) as uploads:
            return uploads.begin(path, body)

    def train(
        self,
        labels: Place,
        *,
        weights: Place = "",
        progress: Progress = no_progress,
        idempotency_key: str | None = None,
        **options: Unpack[LearningOptions],
    ) -> str:
        """Train, export, register and serve a model from a folder of labels with images.

        Returns the task's id.

        Raises:
            BadLabels: if there are none.
        """
        body = learning_body(options)
        with self._uploads({"progress": progress, "idempotency_key": idempotency_key}) as uploads:
            body["data_path"] = uploads.labels(labels, files=False)
            if weights:
                body["training"]["weights"] = uploads.weights(weights)
            body["mode_train_info"] = body.pop("training")
            return uploads.begin("/training", body)

    def training(self, task_id: str) -> Training:
        """How far a task's training is."""
        path = f"/training/{checked_name(task_id, 'task id')}"
        return cast(Training, self._connection.call("GET", path))

    def deploy(self, task_id: str, model: Place | None = None, **sending: Unpack[Sending]) -> str:
        """Serve the version that a task has trained, or an ONNX file as a new one of its model.

        Returns the id of the deployment's own task.
        """
        body = {"task_id": task_id}
        if model is not None:
            return self._with_file("/deployments", "model_path", model, body, sending)
        with self._uploads(sending) as uploads:
            return uploads.begin("/deployments", body)

    def import_model(
        self,
        model: Place,
        name: str,
        images: Place | None = None,
        *,
        imgsz: int | None = None,
        **sending: Unpack[Sending],
    ) -> str:
        """Serve a model that was trained elsewhere: an ONNX file, or a checkpoint (.pt).

        Args:
            name: the registered model; the global one is an administrator's to import.
            images: a folder of images, or a video, that it is proven on; of a local folder a
                few are uploaded. By default the frames of your newest task.
            imgsz: of a checkpoint: long side of the input, pixels.

        Returns the task's id.

        Raises:
            BadInput: also if there are no images.
            Conflict: if the name is another user's.
        """
        body: dict[str, Any] = {"name": name}
        if imgsz is not None:
            body["imgsz"] = imgsz
        with self._uploads(sending) as uploads:
            if images is not None:
                body["images_path"] = uploads.images(images)
            body["model_path"] = uploads.file(model, "model")
            return uploads.begin("/models", body)

    def models(self) -> list[Model]:
        """The global model and those of your tasks, as served; an administrator's: everybody's."""
        return cast(list[Model], self._connection.call("GET", "/models")["models"])

    def infer(
        self,
        task_id: str,
        video: Place,
        *,
        progress: Progress = no_progress,
        idempotency_key: str | None = None,
        **options: Unpack[InferenceOptions],
    ) -> str:
        """Analyse a video with the model that a task has deployed.

        Returns the id of the analysis's own task, whose results they are.
        """
        path = f"/models/{checked_name(task_id, 'task id')}/inference"
        sending: Sending = {"progress": progress, "idempotency_key": idempotency_key}
        return self._with_file(path, "data_path", video, dict(options), sending)

    # API keys

    def create_key(
        self, user_id: str, role: Literal["user", "admin"] = "user", label: str = ""
    ) -> NewKey:
        """Make an API key, as an administrator; its text is in this answer and nowhere else."""
        body = {"user_id": user_id, "role": role, "label": label}
        return cast(NewKey, self._connection.call("POST", "/keys/", json=body, once=True))

    def keys(self) -> Iterator[Key]:
        """Your API keys, an administrator's: everybody's; the revoked ones too."""
        return cast(Iterator[Key], self._connection.pages("/keys/", "keys"))

    def revoke_key(self, key_id: int) -> Key:
        """End an API key."""
        return cast(Key, self._connection.call("DELETE", f"/keys/{int(key_id)}"))

    # Notifications

    def create_notification(self, url: str, events: Sequence[str] = ()) -> Rule:
        """Hear of events at an Apprise URL: Slack, e-mail or whatever else Apprise knows.

        Args:
            events: their names; empty: all.
        """
        body = {"url": url, "events": list(events)}
        answer = self._connection.call("POST", "/notifications/rules", json=body, once=True)
        return cast(Rule, answer)

    def notifications(self) -> Iterator[Rule]:
        """Your rules of who hears of what, an administrator's: everybody's."""
        return cast(Iterator[Rule], self._connection.pages("/notifications/rules", "rules"))

    def delete_notification(self, rule_id: int) -> Rule:
        """Hear no more by a rule."""
        path = f"/notifications/rules/{int(rule_id)}"
        return cast(Rule, self._connection.call("DELETE", path))

    def test_notification(self, rule_id: int) -> str:
        """Have a test message sent; the rule's ``tested`` and ``test_error`` tell what came of it.

        Returns a sentence that says where it goes.
        """
        path = f"/notifications/rules/{int(rule_id)}/test"
        return str(self._connection.call("POST", path, once=True)["detail"])

    # The gateway itself

    def ready(self) -> dict[str, str]:
        """The parts that the gateway needs, each ``ok`` or what is wrong with it."""
        try:
            answer = self._connection.http.get("/readyz")
            return {str(name): str(state) for name, state in answer.json()["parts"].items()}
        except httpx.TransportError as error:
            raise self._connection.away(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"The gateway at {self.gateway} does not say how it is.") from error

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.gateway!r})"

    def _with_file(
        self, path: str, name: str, place: Place, body: Mapping[str, Any], sending: Sending
    ) -> str:
        """Begin work that needs one file, which is uploaded where it is local."""
        with self._uploads(sending) as uploads:
            found = uploads.file(place, name.removesuffix("_path"))
            return uploads.begin(path, {**body, name: found})

    def _uploads(self, sending: Sending) -> Uploads:
        return Uploads(
            self._connection,
            self._acting,
            sending.get("idempotency_key"),
            sending.get("progress", no_progress),
        )


def _labeling_path(task_id: str) -> str:
    return f"/labeling/{checked_name(task_id, 'task id')}"
