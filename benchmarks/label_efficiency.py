"""What labelled frames are worth: mAP50-95 on held-out frames against how many were labelled.

On the open-field mice (116 labelled frames of one session, in the order of time): the last
quarter is held out, a gap before it is dropped, and the earlier frames are the pool that is
labelled from, 12, 24, 48 or all of it.

``uniform`` takes frames spread evenly over the pool. ``active`` works in rounds, as a user
would: 12 frames that look ``diverse`` (there is no model yet), train, have that model look at
the rest of the pool, add the frames that ``components/video/selection`` makes of its findings,
and so on; frames taken earlier stay.

Each training is from scratch and of the same number of optimizer steps, so that fewer labels
do not mean less training: an epoch is EPOCH_IMAGES images whatever there is, with each labelled
frame in it as often as the others (give or take one). All are evaluated by the training's own
validation of its last epoch, so that no epoch is chosen by the held-out frames; the best
epoch's figures are kept too.

    python benchmarks/label_efficiency.py --work WORK

Each finished training is a line of WORK/rows.jsonl; an interrupted call goes on behind the last.
"""

import argparse
import io
import json
import os
import shutil
import statistics
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.dataset.pairing import LabelledImage, labelled_images
from components.dataset.split import split_by_time
from components.labels import LabelSpec
from components.video.extract import uniform_indices

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ACTVERSE_TEST_OPENFIELD", ROOT.parent / "shared/data/openfield"))
SPEC = LabelSpec(
    task="pose",
    names=("mouse",),
    keypoints=("snout", "leftear", "rightear", "tailbase"),
    flip_idx=(0, 2, 1, 3),
)
HELD_OUT, GAP = 0.25, 0.05
BUDGETS = (12, 24, 48)
# Neighbours in the pool count as neighbours in time, at most a second apart: between two of them
# the mouse never moves by more than 0.8 of its size.
SECONDS_APART = 0.5
BATCH = 8
EPOCH_IMAGES = 240  # a multiple of the batch and of every budget
FIGURES = {"mAP50-95": "boxes", "pose_mAP50-95": "key points"}
UNIFORM, ACTIVE, ALL = "uniform", "active", "all"


@dataclass(frozen=True)
class Frames:
    """The labelled frames in the order of time, apart: those to take from, and those held out."""

    pool: tuple[LabelledImage, ...]
    held_out: tuple[LabelledImage, ...]

    @classmethod
    def read(cls, folder: Path) -> "Frames":
        pairs, _ = labelled_images(folder / "frames", folder / "labels")
        split = split_by_time(len(pairs), held_out=HELD_OUT, gap=GAP)
        return cls(tuple(pairs[: split.train]), tuple(pairs[-split.held_out :]))


@dataclass(frozen=True)
class Size:
    """How long and how large every training is."""

    imgsz: int
    epochs: int

    @property
    def steps(self) -> int:
        return self.epochs * EPOCH_IMAGES // BATCH


class Trainings:
    """The trainings of one size below a folder; what is done is not done again."""

    def __init__(self, work: Path, frames: Frames, size: Size) -> None:
        self._work, self._frames, self._size = work, frames, size
        self.pool = len(frames.pool)
        self._log = work / "rows.jsonl"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        if self._log.exists():
            rows = map(json.loads, self._log.read_text(encoding="utf-8").splitlines())
            self.rows = [
                row
                for row in rows
                if row["size"] == size.__dict__
                and (self.model(row["strategy"], row["labels"], row["seed"]) / "model.pt").is_file()
            ]

    def model(self, strategy: str, labels: int, seed: int) -> Path:
        """The folder of a training's model.pt and training.json."""
        name = f"{strategy}-{labels}-seed{seed}-{self._size.imgsz}px-{self._size.epochs}epochs"
        return self._work / "models" / name

    def chosen(self, strategy: str, labels: int, seed: int) -> list[int] | None:
        """The frames of a training that has ended, as indices into the pool."""
        for row in self.rows:
            if (row["strategy"], row["labels"], row["seed"]) == (strategy, labels, seed):
                return list(row["frames"])
        return None

    def run(self, strategy: str, chosen: Sequence[int], seed: int) -> None:
        """Train on the frames ``chosen``, indices into the pool, unless that is done."""
        from components.training.settings import TrainingSettings
        from components.training.train import train

        if self.chosen(strategy, len(chosen), seed) is not None:
            return
        epochs: list[dict[str, float]] = []
        dataset = self._dataset(chosen)
        settings = TrainingSettings(
            imgsz=self._size.imgsz,
            epochs=self._size.epochs,
            batch=BATCH,
            seed=seed,
            threads=2,
            device="cpu",
            patience=0,
            plots=False,
        )
        with redirect_stdout(io.StringIO()):  # Ultralytics' bars
            result = train(
                dataset,
                self.model(strategy, len(chosen), seed),
                settings,
                progress=lambda done, total, **facts: epochs.append(facts["metrics"]),
            )
        shutil.rmtree(dataset)
        row = {
            "strategy": strategy,
            "labels": len(chosen),
            "seed": seed,
            "size": self._size.__dict__,
            "frames": list(chosen),
            "last": epochs[-1],
            "best": result.metrics,
            "best_epoch": result.best_epoch,
            "epochs": epochs,
            "seconds": result.seconds,
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        figures = ", ".join(f"{FIGURES[name]} {epochs[-1].get(name, 0):.3f}" for name in FIGURES)
        print(
            f"{strategy:7} {len(chosen):3} labels, seed {seed}: {figures} ({result.seconds:.0f} s)",
            flush=True,
        )

    def _dataset(self, chosen: Sequence[int]) -> Path:
        """A dataset of EPOCH_IMAGES training images, the chosen frames in turn."""
        from components.dataset.build import build_dataset
        from components.files import link_or_copy

        labelled, dataset = self._work / "labelled", self._work / "dataset"
        shutil.rmtree(labelled, ignore_errors=True)
        turns = [self._frames.pool[chosen[n % len(chosen)]] for n in range(EPOCH_IMAGES)]
        named = [(f"train{n:03d}", pair) for n, pair in enumerate(turns)]
        named += [(f"val{n:03d}", pair) for n, pair in enumerate(self._frames.held_out)]
        for name, pair in named:
            link_or_copy(pair.image, labelled / "images" / f"{name}{pair.image.suffix}")
            link_or_copy(pair.label, labelled / "labels" / f"{name}.txt")
        share = len(self._frames.held_out) / len(named)
        facts = build_dataset(labelled, labelled, dataset, SPEC, held_out=share, gap=0)
        assert (facts.train, facts.held_out) == (EPOCH_IMAGES, len(self._frames.held_out))
        shutil.rmtree(labelled)
        return dataset


class Active:
    """The project's own selection on the pool."""

    def __init__(self, frames: Frames, size: Size) -> None:
        import cv2

        from components.video.selection.embedding import embed

        self._size = size
        self._images = [np.asarray(cv2.imread(str(pair.image))) for pair in frames.pool]
        self._looks = np.stack([embed(image) for image in self._images])

    def first(self, number: int, seed: int) -> list[int]:
        """Frames that look diverse, for when there is no model."""
        from components.video.selection.farthest import farthest_first

        return farthest_first(self._looks, number, seed)

    def grown(self, chosen: Sequence[int], number: int, seed: int, model_pt: Path) -> list[int]:
        """``chosen`` and those frames that bring it to ``number``."""
        from components.video.selection.active import active_order

        scores = self._uncertainty(model_pt)
        picks = active_order(self._looks, scores, number - len(chosen), seed, chosen)
        return [*chosen, *(pick.row for pick in picks)]

    def _uncertainty(self, model_pt: Path) -> np.ndarray:
        """(n,) of the pool's frames; the neighbours of each are those labelled before and after."""
        from components.analysis.entries import EntryWriter
        from components.analysis.options import AnalysisOptions
        from components.export.reference import TrainedModel
        from components.frame_results import ResultsMetadata
        from components.video.selection.options import SelectionOptions
        from components.video.selection.uncertainty import uncertainty

        analysis, selection = AnalysisOptions(), SelectionOptions(number=1)
        height, width = self._images[0].shape[:2]
        entries = EntryWriter(
            ResultsMetadata(
                task_id="benchmark",
                model_name="benchmark",
                model_version=1,
                labels=SPEC,
                origin_width=width,
                origin_height=height,
                fps=1 / SECONDS_APART,
                frame_count=len(self._images),
                confidence=analysis.confidence,
                iou=analysis.iou,
                tracking=False,
            )
        )
        model = TrainedModel(model_pt, SPEC, self._size.imgsz)
        results = (
            entries.entry(
                place,
                place * SECONDS_APART,
                model.detect(image, confidence=analysis.confidence, iou=analysis.iou),
            )
            for place, image in enumerate(self._images)
        )
        scored = uncertainty(results, selection.threshold, (width, height))
        return np.asarray([score for _, _, score in scored])


def run(strategies: Sequence[str], seeds: int, trainings: Trainings, active: Active | None) -> None:
    """All trainings that are not done yet."""
    pool = trainings.pool
    for seed in range(seeds):
        if UNIFORM in strategies:
            for labels in BUDGETS:
                trainings.run(UNIFORM, uniform_indices(pool, labels), seed)
        if active is not None:
            chosen: list[int] = []
            for labels in BUDGETS:
                if not chosen:
                    chosen = active.first(labels, seed)
                elif (before := trainings.chosen(ACTIVE, labels, seed)) is not None:
                    chosen = before
                else:
                    model = trainings.model(ACTIVE, len(chosen), seed) / "model.pt"
                    chosen = active.grown(chosen, labels, seed, model)
                trainings.run(ACTIVE, chosen, seed)
        trainings.run(ALL, range(pool), seed)


def tables(rows: list[dict[str, Any]], size: Size, held_out: int) -> str:
    """The outcome in Markdown: mAP50-95 of the last epoch by seed, and means."""
    seeds = sorted({row["seed"] for row in rows})
    text = (
        f"mAP50-95 on {held_out} held-out frames; yolo11n-pose from scratch, {size.imgsz} px, "
        f"batch {BATCH}, {size.steps} steps whatever the number of labels, last epoch.\n"
    )
    for figure, name in FIGURES.items():
        heads = ["labelled frames", "strategy", *(f"seed {seed}" for seed in seeds), "mean"]
        text += f"\n**{name}**\n\n| {' | '.join(heads)} | mean of the best epochs |\n"
        text += "|---" * (len(heads) + 1) + "|\n"
        kinds = {(row["labels"], row["strategy"]) for row in rows}
        for labels, strategy in sorted(kinds, key=lambda kind: (kind[0], kind[1] != UNIFORM)):
            of_seed = {
                row["seed"]: row
                for row in rows
                if (row["labels"], row["strategy"]) == (labels, strategy)
            }
            last = {seed: value(row["last"], figure) for seed, row in of_seed.items()}
            best = [value(row["best"], figure) for row in of_seed.values()]
            cells = [str(labels), strategy]
            cells += [f"{last[seed]:.3f}" if seed in last else "" for seed in seeds]
            cells += [f"**{statistics.mean(last.values()):.3f}**", f"{statistics.mean(best):.3f}"]
            text += f"| {' | '.join(cells)} |\n"
    return text


def value(metrics: dict[str, float], figure: str) -> float:
    """A figure; 0 where nothing was found and it is no number."""
    return metrics.get(figure, 0.0)


def draw(rows: list[dict[str, Any]], size: Size, png: Path) -> None:
    """Lines through the means, a dot for each seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(FIGURES), figsize=(10, 4.2), sharex=True, dpi=130)
    for panel, (metric, name) in zip(panels, FIGURES.items(), strict=True):
        for strategy, colour, shift in ((UNIFORM, "#0072B2", 0.985), (ACTIVE, "#D55E00", 1.015)):
            points: dict[int, list[float]] = {}
            for row in rows:
                if row["strategy"] in (strategy, ALL):
                    points.setdefault(row["labels"], []).append(value(row["last"], metric))
            counts = sorted(points)
            means = [statistics.mean(points[count]) for count in counts]
            panel.plot(counts, means, color=colour, label=strategy)
            for count in counts:
                places = [count * shift] * len(points[count])
                panel.scatter(places, points[count], s=16, color=colour, alpha=0.6, linewidths=0)
        counts = sorted({row["labels"] for row in rows})
        panel.set_xscale("log")
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.set_xticks([], minor=True)
        panel.set_title(name)
        panel.set_xlabel("labelled frames")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mAP50-95 on the held-out frames")
    panels[0].legend(frameon=False, loc="lower right")
    figure.suptitle(
        f"Open-field mouse, {size.imgsz} px, {size.steps} steps from scratch, last epoch: "
        "means, and each seed",
        fontsize=10,
    )
    figure.tight_layout()
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png)
    plt.close(figure)


def main() -> None:
    """Train what is missing, print, draw."""
    options = parse()
    if not options.data.is_dir():
        print(f"Skipped: the open-field mice are not in {options.data} (ACTVERSE_TEST_OPENFIELD).")
        return
    frames = Frames.read(options.data)
    size = Size(options.imgsz, options.epochs)
    trainings = Trainings(options.work, frames, size)
    active = Active(frames, size) if ACTIVE in options.strategies else None
    run(options.strategies, options.seeds, trainings, active)
    text = tables(trainings.rows, size, len(frames.held_out))
    print(f"\n{text}")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    draw(trainings.rows, size, options.png)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the folder openfield")
    parser.add_argument("--work", type=Path, required=True, help="for rows.jsonl and the models")
    parser.add_argument("--imgsz", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=10, help=f"of {EPOCH_IMAGES} images each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=[UNIFORM, ACTIVE])
    parser.add_argument("--markdown", type=Path, help="a file for the tables")
    parser.add_argument("--png", type=Path, help="default: docs/label_efficiency.png")
    parser.add_argument("--quick", action="store_true", help="try it out: one seed, few steps")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs, options.imgsz = 1, 2, 96
        options.png = options.png or options.work / "label_efficiency.png"
    options.png = options.png or ROOT / "docs/label_efficiency.png"
    return options


if __name__ == "__main__":
    # Threads that spin while they wait cost a busy machine more than they gain an idle one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
