import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from components import ultralytics_env
from components.dataset.build import build_dataset
from components.dataset.facts import read_dataset
from components.dataset.leak import split_leak, thumbnail
from components.errors import BadInput, BadLabels, NotFound
from components.labels import LabelSpec

DETECT = LabelSpec(names=("disc", "square"))
POSE = LabelSpec(task="pose", names=("fish",), keypoints=("head", "tail"), flip_idx=(0, 1))
DISC, SQUARE = "0 0.5 0.5 0.2 0.2\n", "1 0.4 0.4 0.2 0.2\n"

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws frames with a label each into a folder; a label of None is left out."""

    def make(labels: list[str | None], name: str = "frames", pattern: str = "frame_{:06d}") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        for index, label in enumerate(labels):
            image = rng.integers(0, 8, (48, 64, 3), np.uint8)
            cv2.circle(image, (4 + index, 24), 4, (255, 255, 255), -1)
            cv2.imwrite(str(folder / f"{pattern.format(index * 10)}.png"), image)
            if label is not None:
                (folder / f"{pattern.format(index * 10)}.txt").write_text(label)
        return folder

    return make


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_blocks_of_time_are_split_with_a_gap_between(draw: Draw, tmp_path: Path) -> None:
    # Names without leading zeros: time order is not alphabetical order.
    frames = draw([DISC + SQUARE] * 20, pattern="img{}")
    facts = build_dataset(frames, frames, tmp_path / "out", DETECT, held_out=0.2, gap=0.1)
    assert (facts.train, facts.dropped, facts.held_out) == (14, 2, 4)
    lines = (tmp_path / "out" / "train_test_split.txt").read_text().splitlines()
    parts = ["train"] * 14 + ["gap"] * 2 + ["val"] * 4
    assert lines == [f"{part}\timg{index * 10}.png" for index, part in enumerate(parts)]
    for part in ("train", "val"):
        expected = sorted(f"img{i * 10}" for i, p in enumerate(parts) if p == part)
        assert _names(tmp_path / "out" / "images" / part) == [f"{n}.png" for n in expected]
        assert _names(tmp_path / "out" / "labels" / part) == [f"{n}.txt" for n in expected]
    assert facts.objects["train"] == {"disc": 14, "square": 14}
    assert facts.objects["held_out"] == {"disc": 4, "square": 4}
    assert read_dataset(tmp_path / "out") == facts


@pytest.mark.parametrize(
    ("frames", "parts"), [(3, (2, 0, 1)), (4, (2, 1, 1)), (6, (4, 1, 1)), (100, (75, 5, 20))]
)
def test_few_frames_still_give_both_blocks(
    frames: int, parts: tuple[int, int, int], draw: Draw, tmp_path: Path
) -> None:
    folder = draw([DISC] * frames)
    facts = build_dataset(folder, folder, tmp_path / "out", DETECT)
    assert (facts.train, facts.dropped, facts.held_out) == parts


def test_too_few_frames_say_how_many_are_needed(draw: Draw, tmp_path: Path) -> None:
    folder = draw([DISC, DISC, None])
    with pytest.raises(BadLabels, match="There are 2 labelled images, but at least 3 are needed"):
        build_dataset(folder, folder, tmp_path / "out", DETECT)


def test_unlabelled_images_are_left_out_and_empty_labels_are_negatives(
    draw: Draw, tmp_path: Path
) -> None:
    folder = draw([DISC, None, "", DISC, SQUARE, DISC, ""])
    facts = build_dataset(folder, folder, tmp_path / "out", DETECT)
    assert facts.unlabelled == 1
    assert facts.negatives == {"train": 1, "held_out": 1}
    assert "frame_000010" not in (tmp_path / "out" / "train_test_split.txt").read_text()
    assert (tmp_path / "out" / "labels" / "train" / "frame_000020.txt").read_text() == ""


def test_classes_without_objects_are_warned_of(draw: Draw, tmp_path: Path) -> None:
    folder = draw([DISC] * 5)
    facts = build_dataset(folder, folder, tmp_path / "out", DETECT)
    assert facts.warnings == (
        "The training block holds no square: the model cannot learn it.",
        "The held-out block holds no square: the metrics say nothing of it.",
    )


def test_yolo_layout_with_what_tools_leave_beside_it(draw: Draw, tmp_path: Path) -> None:
    flat = draw([DISC] * 4)
    yolo = tmp_path / "yolo"
    for suffix, kind in ((".png", "images"), (".txt", "labels")):
        (yolo / kind / "train").mkdir(parents=True)
        for path in flat.glob(f"*{suffix}"):
            shutil.copy(path, yolo / kind / "train")
    for litter in ("classes.txt", "notes.txt", "data.yaml", "labels/classes.txt", "labels/._a.txt"):
        (yolo / litter).write_text("disc\nsquare\n")
    facts = build_dataset(yolo, yolo, tmp_path / "a", DETECT)
    (flat / "classes.txt").write_text("disc\nsquare\n")
    assert build_dataset(flat, flat, tmp_path / "b", DETECT) == facts
    split = build_dataset(yolo / "images", yolo / "labels" / "train", tmp_path / "c", DETECT)
    assert split == facts


def test_key_points_as_pairs_become_triples(draw: Draw, tmp_path: Path) -> None:
    folder = draw(["0 0.5 0.5 0.2 0.2 0.4 0.5 0 0\n"] * 3)
    build_dataset(folder, folder, tmp_path / "out", POSE)
    assert (tmp_path / "out" / "labels" / "val" / "frame_000020.txt").read_text() == (
        "0 0.500000 0.500000 0.200000 0.200000 0.400000 0.500000 2 0.000000 0.000000 0\n"
    )


def test_digest_knows_the_content_and_nothing_else(draw: Draw, tmp_path: Path) -> None:
    folder = draw([DISC] * 5)
    first = build_dataset(folder, folder, tmp_path / "a", DETECT).digest

    moved = tmp_path / "moved"
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    assert build_dataset(moved, moved, tmp_path / "b" / "out", DETECT).digest == first

    def changed(change: Callable[[Path], object], spec: LabelSpec = DETECT) -> str:
        shutil.rmtree(moved)
        shutil.copytree(folder, moved)
        change(moved)
        return build_dataset(moved, moved, tmp_path / "b", spec).digest

    others = [
        changed(lambda f: (f / "frame_000000.txt").write_text(SQUARE)),
        changed(lambda f: cv2.imwrite(str(f / "frame_000000.png"), np.zeros((48, 64, 3)))),
        changed(
            lambda f: (
                (f / "frame_000000.png").rename(f / "frame_000001.png")
                and (f / "frame_000000.txt").rename(f / "frame_000001.txt")
            )
        ),
        changed(lambda f: (f / "frame_000040.txt").unlink()),
        changed(lambda f: None, LabelSpec(names=("ring", "square"))),
    ]
    assert len({first, *others}) == 6


def test_leak_tells_a_split_by_time_from_one_at_random(draw: Draw, tmp_path: Path) -> None:
    folder = draw([DISC] * 40)
    facts = build_dataset(folder, folder, tmp_path / "out", DETECT)
    seen = np.stack([thumbnail(path) for path in sorted(folder.glob("*.png"))])
    assert facts.leak == split_leak(seen[: facts.train], seen[-facts.held_out :], seen)
    order = np.random.default_rng(0).permutation(40)
    at_random = split_leak(seen[order[: facts.train]], seen[order[-facts.held_out :]], seen)
    assert facts.leak < 0.3
    assert at_random > 0.6


def test_a_user_s_pictures_stay_as_they_are_when_the_dataset_goes(
    draw: Draw, tmp_path: Path
) -> None:
    folder = draw([DISC] * 3)
    (tmp_path / "links").mkdir()
    for path in folder.glob("*.png"):
        (tmp_path / "links" / path.name).symlink_to(Path("..") / "frames" / path.name)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    build_dataset(tmp_path / "links", folder, tmp_path / "out", DETECT)
    shutil.move(tmp_path / "out", tmp_path / "deep" / "er")
    assert (
        cv2.imread(str(tmp_path / "deep" / "er" / "images" / "val" / "frame_000020.png"))
        is not None
    )
    shutil.rmtree(tmp_path / "deep")
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f), "frames with the images is not there"),
        (lambda f: [p.unlink() for p in f.glob("*.png")], "There are no images in"),
        (lambda f: [p.unlink() for p in f.glob("*.txt")], "There are no labels in"),
        (
            lambda f: [(f / f"lost{i}.txt").write_text(DISC) for i in range(5)],
            r"5 label files in .* have no image .* \(lost0.txt, lost1.txt, lost2.txt, …\)",
        ),
        (
            lambda f: (f / "frame_000010.txt").write_text("7 .5 .5 .1 .1"),
            "line 1: class 7 is unknown",
        ),
        (lambda f: (f / "frame_000010.txt").write_text("0 1.5 .5 .1 .1"), "outside 0 to 1"),
        (lambda f: (f / "frame_000010.txt").write_text("0 nan .5 .1 .1"), "outside 0 to 1"),
        (
            lambda f: (f / "frame_000010.png").write_bytes(b"no png"),
            "frame_000010.png cannot be read",
        ),
        (lambda f: _truncate(f / "frame_000010.png"), "frame_000010.png cannot be read"),
        (
            lambda f: cv2.imwrite(str(f / "frame_000010.png"), np.zeros((5, 64, 3))),
            "64 x 5 pixels: give one of at least",
        ),
        (
            lambda f: cv2.imwrite(str(f / "frame_000010.jpg"), np.zeros((64, 64, 3))),
            "frame_000010.jpg and frame_000010.png in .* share a name",
        ),
        (
            lambda f: [p.write_text("") for p in f.glob("*.txt")],
            "All 5 label files in .* are empty",
        ),
        (
            lambda f: [(f / f"frame_0000{i}0.txt").write_text("") for i in range(3)],
            "images of the training block hold no object",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_an_older_dataset(
    spoil: Callable[[Path], object], said: str, draw: Draw, tmp_path: Path
) -> None:
    folder = draw([DISC] * 5)
    older = build_dataset(folder, folder, tmp_path / "out", DETECT)
    spoil(folder)
    with pytest.raises(BadLabels, match=said) as caught:
        build_dataset(folder, folder, tmp_path / "out", DETECT)
    assert "\n" not in str(caught.value)
    assert read_dataset(tmp_path / "out") == older
    assert {path.name for path in tmp_path.iterdir()} <= {"frames", "out"}


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def test_a_truncated_jpeg_is_refused(draw: Draw, tmp_path: Path) -> None:
    # OpenCV would read it, with a grey rest.
    folder = draw([DISC] * 3)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (folder / "frame_000010.png").unlink()
    cv2.imwrite(str(folder / "frame_000010.jpg"), picture)
    _truncate(folder / "frame_000010.jpg")
    with pytest.raises(BadLabels, match=r"frame_000010\.jpg cannot be read"):
        build_dataset(folder, folder, tmp_path / "out", DETECT)


@pytest.mark.parametrize(("held_out", "gap"), [(0, 0.1), (1, 0), (0.5, 0.5), (0.2, -0.1)])
def test_shares_that_leave_nothing_are_refused(
    held_out: float, gap: float, draw: Draw, tmp_path: Path
) -> None:
    folder = draw([DISC] * 5)
    with pytest.raises(BadInput, match="cannot be used: take shares"):
        build_dataset(folder, folder, tmp_path / "out", DETECT, held_out=held_out, gap=gap)


def test_reading_what_is_no_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No dataset lies in"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(BadInput, match="is not a dataset's facts"):
        read_dataset(tmp_path)


def test_an_unreadable_image_is_named_where_ultralytics_is_loaded_too(
    draw: Draw, tmp_path: Path
) -> None:
    # It puts its own function in the place of PIL's open.
    ultralytics_env.prepare()
    import ultralytics.utils.patches  # noqa: F401

    folder = draw([DISC] * 3)
    (folder / "frame_000010.png").write_bytes(b"no png")
    with pytest.raises(BadLabels, match=r"frame_000010\.png cannot be read"):
        build_dataset(folder, folder, tmp_path / "out", DETECT)
