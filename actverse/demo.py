"""The demo: a drawn clip with known ground truth, taken through the whole loop."""

import tempfile
from pathlib import Path

from actverse.commands import console, run_video
from actverse.sample import make_sample
from components.video.extract import uniform_indices

FRAMES = 110
TRAINING = {"epochs": 12, "imgsz": 160, "batch": 4, "model": "yolo11n"}


def run_demo(*, keep: bool, seed: int) -> None:
    """Draw the clip, label it with its own ground truth, and run the loop.

    Raises:
        StepFailed: if a step failed, with its sentence.
    """
    with tempfile.TemporaryDirectory(prefix="actverse-demo-") as folder:
        video, labels = Path(folder) / "sample.mp4", Path(folder) / "labels"
        truth = make_sample(video, seed=seed)
        # The person who would label is replaced by the clip's own ground truth.
        truth.write_labels(labels, uniform_indices(len(truth.frames), FRAMES))
        console.print(
            f"A clip of {len(truth.frames)} frames with "
            f"{', '.join(truth.spec.names)}; {FRAMES} of them are labelled."
        )
        run_video(
            str(video),
            str(labels),
            keep=keep,
            names=truth.spec.names,
            model_name="demo",
            training={**TRAINING, "seed": seed},
        )
