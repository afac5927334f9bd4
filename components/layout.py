"""Where everything lies below the storage's root."""

import re
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput, Refused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if it may stand as one folder's name.

    Raises:
        BadInput: if it is empty, longer than 128, starts with a dot or holds anything
            but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"The {what} {name!r} cannot be used: take letters, digits, '.', '_' and '-', "
            "at most 128, and begin with a letter or digit."
        )
    return name


@dataclass(frozen=True)
class Layout:
    """The folders of one storage root; task and model names are checked."""

    root: Path

    def video(self, task_id: str) -> Path:
        """``videos/{task_id}/``: the source as it came and ``video.mp4``, converted."""
        return self.root / "videos" / checked_name(task_id, "task id")

    def frames(self, task_id: str) -> Path:
        """``frames/{task_id}/``: ``frame_000120.jpg`` is the 121st decoded frame."""
        return self.root / "frames" / checked_name(task_id, "task id")

    def preannotations(self, task_id: str) -> Path:
        """``preannotations/{task_id}/``: what the global model found, one text file a frame."""
        return self.root / "preannotations" / checked_name(task_id, "task id")

    def labels(self, task_id: str) -> Path:
        """``labels/{task_id}/``: YOLO text, one file an image, and their images if given."""
        return self.root / "labels" / checked_name(task_id, "task id")

    def labels_draft(self, task_id: str) -> Path:
        """``labels_drafts/{task_id}.json``: the labels as they were last read from a tool."""
        return self.root / "labels_drafts" / f"{checked_name(task_id, 'task id')}.json"

    def train_log(self, task_id: str) -> Path:
        """``train_log/{task_id}/``: ``data/``, ``model.pt`` and the training's progress."""
        return self.root / "train_log" / checked_name(task_id, "task id")

    def dataset(self, task_id: str) -> Path:
        """``train_log/{task_id}/data/``."""
        return self.train_log(task_id) / "data"

    def step_reports(self, task_id: str) -> Path:
        """``train_log/{task_id}/steps/``: what each pipeline step says of itself."""
        return self.train_log(task_id) / "steps"

    def labelled_images(self, task_id: str) -> Path:
        """The images that belong to the labels: the user's own, or the extracted frames."""
        labels = self.labels(task_id)
        return labels / "images" if (labels / "images").is_dir() else self.frames(task_id)

    def results(self, task_id: str) -> Path:
        """``inference_results/{task_id}/``."""
        return self.root / "inference_results" / checked_name(task_id, "task id")

    def models(self) -> Path:
        """``models/``: Triton's model repository."""
        return self.root / "models"

    def model_version(self, model: str, version: str | int) -> Path:
        """``models/{model}/{version}/``, which holds ``model.onnx``."""
        return self.models() / checked_name(model, "model name") / str(int(version))

    def user_file(self, user_id: str, key: str) -> Path:
        """The file or folder of a key below the user's own prefix ``users/{user_id}/``.

        Raises:
            Refused: if the key would leave that prefix, also by a symbolic link.
        """
        prefix = (self.root / "users" / checked_name(user_id, "user id")).resolve()
        if "\0" in key:
            raise Refused("A storage key holds a null character: give the key without it.")
        path = (prefix / key).resolve()
        if path != prefix and not path.is_relative_to(prefix):
            raise Refused(f"The key {key!r} lies outside your own files: give a key inside them.")
        return path
