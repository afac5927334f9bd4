"""SLEAP's files: made by sleap-io itself, made by us, and made to do harm."""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
import sleap_io
from hypothesis import given, settings
from hypothesis import strategies as st
from sleap_io import (
    Instance,
    LabeledFrame,
    Labels,
    PredictedBoundingBox,
    PredictedInstance,
    Skeleton,
    Track,
    UserBoundingBox,
    Video,
)

from components.errors import BadLabels
from components.labeling.formats import sleap
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import FrameLabels, LabelSpec
from tests.helpers.pose_sets import SIZES, assert_same, label_sets, write_images

NODES = ("nose", "tail")
POSE = WantedLabels(task="pose", names=("mouse",), keypoints=NODES)
TWO = WantedLabels(task="pose", names=("mouse", "rat"), keypoints=NODES)
DETECT = LabelSpec(names=("mouse", "unseen"))
FLIPPED = LabelSpec(
    task="pose", names=("rat", "mouse"), keypoints=("l", "mid", "r"), flip_idx=(2, 1, 0)
)
_NAN = (np.nan, np.nan)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    sizes = {**SIZES, **dict.fromkeys(("a", "b", "c", "frame_000120"), (64, 48))}
    return write_images(tmp_path_factory.mktemp("images"), sizes)


def _pictures(*files: str) -> Video:
    meta = {"type": "ImageVideo", "filename": files[0], "filenames": list(files)}
    meta["shape"] = [len(files), 48, 64, 3]
    return Video(list(files), backend_metadata=meta, open_backend=False)


def _film(path: str = "/far/away/mice.mp4") -> Video:
    meta = {"type": "MediaVideo", "filename": path, "shape": [500, 48, 64, 3], "grayscale": False}
    return Video(path, backend_metadata=meta, open_backend=False)


def _mouse(*points: tuple[float, float], name: str = "Skeleton-0", **more: object) -> Instance:
    return Instance.from_numpy(np.array(points), Skeleton(list(NODES), name=name), **more)


def _saved(folder: Path, *frames: LabeledFrame, **more: object) -> Path:
    sleap_io.save_slp(Labels(list(frames), **more), str(folder / "theirs.slp"), verbose=False)
    return folder / "theirs.slp"


def _objects(labels: LabelSet, stem: str) -> list[LabelledObject]:
    frame = labels.frames[stem]
    return labelled_objects(frame.labels, labels.spec, frame.size_wh)


def _rounded(item: LabelledObject) -> dict[str, tuple[float, float, int]]:
    return {name: (round(x, 3), round(y, 3), v) for name, (x, y, v) in item.keypoints.items()}


def test_what_people_labelled_in_images(tmp_path: Path, images: dict[str, Path]):
    video = _pictures("C:\\mice\\a.png", "/x/b.png", "/x/c.png")
    hidden = _mouse((10, 20), (30, 40))
    hidden.points["visible"] = True, False
    path = _saved(
        tmp_path,
        LabeledFrame(video, 0, [hidden, _mouse((5, 6), _NAN), _mouse(_NAN, _NAN)]),
        LabeledFrame(video, 1, [], is_negative=True),
        LabeledFrame(video, 2),
    )
    assert sleap.recognises(path)
    assert sleap.recognises(tmp_path)
    assert sleap.names(path) == ["a", "b", "c"]
    labels = sleap.read(path, POSE, images)
    first, second = _objects(labels, "a")
    assert _rounded(first) == {"nose": (10, 20, 2), "tail": (30, 40, 1)}
    assert _rounded(second) == {"nose": (5, 6, 2)}
    assert first.xyxy == pytest.approx((8, 18, 32, 42), abs=1e-3)
    assert len(labels.frames["b"].labels) == len(labels.frames["c"].labels) == 0


def test_frames_of_a_film_are_named_by_their_index(tmp_path: Path, images: dict[str, Path]):
    path = _saved(tmp_path, LabeledFrame(_film(), 120, [_mouse((1, 2), (3, 4))]))
    assert list(sleap.read(path, POSE, images).frames) == ["frame_000120"]


@pytest.mark.parametrize("of_images", [False, True])
def test_packages_are_named_by_their_source(
    tmp_path: Path, images: dict[str, Path], of_images: bool
):
    folder = write_images(tmp_path / "source", dict.fromkeys(("a", "b", "c"), (64, 48)))
    video = Video.from_filename([str(folder[stem]) for stem in "abc"])
    path = tmp_path / "x.pkg.slp"
    labels = Labels([LabeledFrame(video, 2, [_mouse((1, 2), (3, 4))])])
    sleap_io.save_slp(labels, str(path), embed=True, verbose=False)
    if not of_images:
        with h5py.File(path, "a") as content:
            del content["video0/source_video"]
    assert sleap.names(path) == ["c" if of_images else "frame_000002"]


def test_predictions_are_no_labels(tmp_path: Path, images: dict[str, Path]):
    video = _pictures("a.png", "b.png")
    guess = PredictedInstance.from_numpy(np.ones((2, 2)), Skeleton(list(NODES)), score=0.5)
    box = PredictedBoundingBox(1, 2, 3, 4, score=0.5)
    path = _saved(
        tmp_path,
        LabeledFrame(video, 0, [guess, _mouse((10, 20), (30, 40))], bboxes=[box]),
        LabeledFrame(video, 1, [guess], bboxes=[box]),
    )
    labels = sleap.read(path, POSE, images)
    assert list(labels.frames) == ["a"]
    assert labels.objects == {"mouse": 1}
    negative = LabeledFrame(video, 1, [guess], is_negative=True)
    assert sleap.names(_saved(tmp_path, negative)) == ["b"]
    with pytest.raises(BadLabels, match="holds predictions only"):
        sleap.names(_saved(tmp_path, LabeledFrame(video, 1, [guess])))
    with pytest.raises(BadLabels, match="labels no frame"):
        sleap.names(_saved(tmp_path))


def test_classes(tmp_path: Path, images: dict[str, Path]):
    places = (10, 20), (30, 40)
    frame = LabeledFrame(
        _pictures("a.png"),
        0,
        [
            _mouse(*places, track=Track("rat_2")),
            _mouse(*places, name="mouse"),
            _mouse(*places, category="rat", name="mouse"),
        ],
    )
    # sleap-io takes skeletons of the same nodes for one, unless they are listed.
    path = _saved(tmp_path, frame, skeletons=[one.skeleton for one in frame])
    read = [item.name for item in _objects(sleap.read(path, TWO, images), "a")]
    assert read == ["rat", "mouse", "rat"]
    with pytest.raises(BadLabels, match=r"a in theirs\.slp: the class 'rat' is none of"):
        sleap.read(path, POSE, images)
    frame.instances[0].track = Track("bob")
    with pytest.raises(BadLabels, match="nothing tells which of mouse, rat the animal bob"):
        sleap.read(_saved(tmp_path, frame), TWO, images)
    frame.instances = [_mouse(*places, name="vole")]
    nobody = WantedLabels(task="pose")
    assert sleap.read(_saved(tmp_path, frame), nobody, images).objects == {"vole": 1}
    frame.instances = [_mouse(*places)]
    assert sleap.read(_saved(tmp_path, frame), nobody, images).objects == {"animal": 1}


def test_boxes_of_their_own(tmp_path: Path, images: dict[str, Path]):
    mouse = _mouse((10, 20), (30, 40))
    boxes = [
        UserBoundingBox(1, 2, 33, 44, instance=mouse),
        UserBoundingBox(10, 10, 30, 20, angle=np.pi / 2, category="mouse"),
    ]
    path = _saved(tmp_path, LabeledFrame(_pictures("a.png"), 0, [mouse], bboxes=boxes))
    first, second = _objects(sleap.read(path, POSE, images), "a")
    assert first.xyxy == pytest.approx((1, 2, 33, 44), abs=1e-3)
    assert len(first.keypoints) == 2
    assert second.xyxy == pytest.approx((15, 5, 25, 25), abs=1e-3)
    assert not second.keypoints
    detect = sleap.read(path, WantedLabels(names=("mouse",)), images)
    assert [item.xyxy for item in _objects(detect, "a")] == [first.xyxy, second.xyxy]


def test_points_that_nobody_placed_are_none(tmp_path: Path, images: dict[str, Path]):
    mouse = Instance.empty(Skeleton(list(NODES)))
    mouse.points["xy"][0], mouse.points["visible"][0] = (10, 20), True
    path = _saved(tmp_path, LabeledFrame(_pictures("a.png"), 0, [mouse]))
    assert _rounded(_objects(sleap.read(path, POSE, images), "a")[0]) == {"nose": (10, 20, 2)}


@pytest.mark.parametrize("spec", [FLIPPED, DETECT])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_round_trip_keeps_everything(
    images: dict[str, Path], spec: LabelSpec, data: st.DataObject
):
    labels = data.draw(label_sets(spec))
    # Even where the task names nothing, all stands in the file.
    wanted = data.draw(
        st.sampled_from(
            [WantedLabels(spec.task), WantedLabels(spec.task, spec.names, spec.keypoints)]
        )
    )
    with TemporaryDirectory() as folder:
        sleap.write(labels, Path(folder))
        assert [file.name for file in Path(folder).iterdir()] == [sleap.FILE]
        assert sleap.names(Path(folder)) == sorted(labels.frames)
        assert_same(sleap.read(Path(folder), wanted, images), labels)


def test_sleap_sees_negatives_classes_and_symmetries(tmp_path: Path):
    empty = FrameLabels(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros((0, 3, 3)))
    sleap.write(LabelSet(FLIPPED, {"a": LabelledFrame("a.png", (64, 48), empty)}), tmp_path)
    theirs = sleap_io.load_slp(str(tmp_path / sleap.FILE))
    assert [frame.is_negative for frame in theirs.labeled_frames] == [True]
    assert [category.name for category in theirs.categories] == ["rat", "mouse"]
    assert theirs.skeleton.symmetry_names == [("l", "r")]
    assert (theirs.video.filename, theirs.video.shape) == (["a.png"], [1, 48, 64, 3])


def test_symmetries_follow_the_tasks_order_of_key_points(tmp_path: Path, images: dict[str, Path]):
    skeleton = Skeleton(["l", "mid", "r"], symmetries=[("l", "r")])
    mouse = Instance.from_numpy(np.array([(1, 2), (3, 4), (5, 6)]), skeleton)
    path = _saved(tmp_path, LabeledFrame(_pictures("a.png"), 0, [mouse]))
    wanted = WantedLabels("pose", ("mouse",), ("mid", "r", "l"))
    assert sleap.read(path, wanted, images).spec.flip_idx == (0, 2, 1)


@contextmanager
def _watched(*paths: Path) -> Iterator[Callable[[], int]]:
    """Count how often files are opened, by whatever part of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0, os.strerror(ctypes.get_errno())
    in_open = 0x20

    def opened() -> int:
        try:
            return len(os.read(watch, 4096)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0

    try:
        for path in paths:
            assert libc.inotify_add_watch(watch, os.fsencode(path), in_open) >= 0
        yield opened
    finally:
        os.close(watch)


def test_nothing_that_a_file_names_is_opened(tmp_path: Path, images: dict[str, Path]):
    secret, beside, still = tmp_path / "secret.mp4", tmp_path / "mice.mp4", tmp_path / "a.png"
    for file in (secret, beside, still):
        file.write_bytes(images["a"].read_bytes())
    film = _film()
    film.source_video = _film(str(secret))
    frames = [
        LabeledFrame(film, 120, [_mouse((1, 2), (3, 4))]),
        LabeledFrame(_pictures(str(still)), 0, [_mouse((1, 2), (3, 4))]),
    ]
    path = _saved(tmp_path, *frames)
    with _watched(secret, beside, still) as opened:
        still.read_bytes()
        assert opened() == 1  # The watch works.
        assert sorted(sleap.read(path, POSE, images).frames) == ["a", "frame_000120"]
        assert opened() == 0
        sleap_io.load_slp(str(path))
        assert opened() > 0  # What is avoided.


def _harmed(folder: Path, harm: Callable[[h5py.File], None]) -> Path:
    frame = LabeledFrame(_pictures("a.png", "b.png"), 0, [_mouse((1, 2), (3, 4))])
    path = _saved(folder, frame, tracks=[Track("t")])
    with h5py.File(path, "a") as content:
        harm(content)
    return path


def _external_link(content: h5py.File) -> None:
    del content["points"]
    content["points"] = h5py.ExternalLink("secret.h5", "/points")


def _soft_link(content: h5py.File) -> None:
    content["more"] = h5py.SoftLink("/points")


def _external_data(content: h5py.File) -> None:
    secret = Path(content.filename).with_name("secret.h5")
    del content["tracks_json"]
    content.create_dataset("tracks_json", (4,), "u1", external=[(str(secret), 0, 4)])


def _virtual(content: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(Path(content.filename).with_name("secret.h5")), "x", (4,))
    content.create_group("deep").create_virtual_dataset("more", layout)


def _bomb(content: h5py.File) -> None:
    kind = content["points"].dtype
    del content["points"]
    content.create_dataset("points", (10**9,), kind, chunks=(10**6,), compression="gzip")


def _shared_text(content: h5py.File) -> None:
    """A table of 4000 texts, all at one place in the file."""
    del content["tracks_json"]
    content.create_dataset("tracks_json", (4000,), h5py.string_dtype(), chunks=(4000,))
    content["tracks_json"].id.write_direct_chunk((0,), 4000 * _shared_reference(content))


def _shared_reference(content: h5py.File) -> bytes:
    """Where a text of 100 kB lies in the file, as a table refers to it."""
    one = content.create_dataset("one", (1,), h5py.string_dtype(), chunks=(1,))
    one[0] = "x" * 100_000
    content.flush()
    return one.id.read_direct_chunk((0,))[1]


def _texts_in_texts(content: h5py.File) -> None:
    del content["tracks_json"]
    kind = np.dtype([("a", h5py.string_dtype()), ("b", "i4")])
    content.create_dataset("tracks_json", (2,), kind)


def _many_texts_in_an_attribute(content: h5py.File) -> None:
    content["metadata"].attrs["json"] = ["{}"] * 3


def _second_name(content: h5py.File) -> None:
    content["again"] = content["metadata"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_external_link, "holds a link, points"),
        (_soft_link, "holds a link, more"),
        (_external_data, "data of other files, tracks_json"),
        (_virtual, "data of other files, deep/more"),
        (_bomb, "take more than"),
        (_shared_text, "take more than"),
        (_texts_in_texts, "a table, /tracks_json, unlike SLEAP's"),
        (_many_texts_in_an_attribute, "an attribute, json, of many texts"),
        (_second_name, "holds a link, again"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_bursts(
    tmp_path: Path, harm: Callable[[h5py.File], None], sentence: str
):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as content:
        content["points"] = content["x"] = np.zeros(4, "u1")
    path = _harmed(tmp_path, harm)
    with _watched(secret) as opened:
        with pytest.raises(BadLabels, match=sentence):
            sleap.names(path)
        assert opened() == 0


@pytest.mark.parametrize("missing", ["points", "frames", "instances", "videos_json", "metadata"])
def test_files_that_lack_a_part(tmp_path: Path, missing: str):
    path = _harmed(tmp_path, lambda content: content.__delitem__(missing))
    with pytest.raises(BadLabels, match="cannot be read as SLEAP's labels"):
        sleap.names(path)


def test_files_cut_short_or_garbled(tmp_path: Path, images: dict[str, Path]):
    whole = _harmed(tmp_path, lambda content: None).read_bytes()
    path = tmp_path / "theirs.slp"
    for length in (8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadLabels, match="cannot be read"):
            sleap.read(path, POSE, images)
    path.write_bytes(b"no HDF5")
    assert not sleap.recognises(path)
    with pytest.raises(BadLabels, match="holds no labels of SLEAP"):
        sleap.names(path)


def test_numbers_that_fit_nothing(tmp_path: Path, images: dict[str, Path]):
    def far_frame(content: h5py.File) -> None:
        frames = content["frames"][:]
        frames["frame_idx"] = 7
        content["frames"][:] = frames

    with pytest.raises(BadLabels, match="labels image 7 of 2"):
        sleap.names(_harmed(tmp_path, far_frame))
    video = _pictures("a.png", "/other/a.png", "z.png")
    mouse = _mouse((1, 2), (3, 4))
    with pytest.raises(BadLabels, match="labels a twice"):
        sleap.names(_saved(tmp_path, LabeledFrame(video, 0, [mouse]), LabeledFrame(video, 1)))
    with pytest.raises(BadLabels, match=r"1 of the 1 images .*z"):
        sleap.read(_saved(tmp_path, LabeledFrame(video, 2, [mouse])), POSE, images)
    outside = LabeledFrame(video, 0, [_mouse((1, 2), (65, 4))])
    with pytest.raises(BadLabels, match=r"a in theirs\.slp: the key point tail .* outside"):
        sleap.read(_saved(tmp_path, outside), POSE, images)
    wrong = WantedLabels("pose", ("mouse",), ("Nose", "tail"))
    with pytest.raises(BadLabels, match="'nose' is written 'Nose'"):
        sleap.read(_saved(tmp_path, LabeledFrame(video, 0, [mouse])), wrong, images)
    films = [LabeledFrame(_film(f"{name}.mp4"), 120 + i, [mouse]) for i, name in enumerate("ab")]
    with pytest.raises(BadLabels, match="in several videos"):
        sleap.names(_saved(tmp_path, *films))


def test_numbers_of_videos_with_gaps_are_refused(tmp_path: Path):
    def gap(content: h5py.File) -> None:
        text = '{"filename": ".", "backend": {"filename": ".", "dataset": "video5/video"}}'
        content["videos_json"][0] = text

    with pytest.raises(BadLabels, match="numbers its videos with gaps"):
        sleap.names(_harmed(tmp_path, gap))
