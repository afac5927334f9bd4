"""SLEAP's label files, .slp and .pkg.slp, through sleap-io.

What people labelled counts: user instances and user boxes. Predicted ones are left out, and
so is a frame that has only these. A frame marked as negative, or with nothing in it, is a
confirmed negative.

An image's stem is its file's for videos of images, else ``frame_name`` of its index in the
video, for embedded images that in the video which they were taken from.

A class is the category of the box or instance. Where it has none, its track or skeleton may
be called after a class (``mouse_1``); else it is of the task's only class. Where the task
names no class, the categories count, else the skeletons that people gave a name, else
``animal``. A node that is not visible but placed is a hidden key point.

The file comes from strangers. No video or image that it names is opened, and HDF5's own
ways to name other files are refused: external links, external data and virtual data sets.
"""

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import BadLabels
from components.files import whole_file
from components.labeling.image_files import image_size, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.pose_files import ANIMAL, class_of, only_file, recognised_files, stem_of
from components.labeling.wanted import WantedLabels
from components.video.extract import frame_name

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
    import sleap_io  # type: ignore[import-untyped]

FILE = "labels.slp"
MAX_BYTES = 256 * 2**20
"""Of a file's tables, unpacked; embedded images are not read and do not count."""

_TOOL = "SLEAP"
_MAGIC = b"\x89HDF\r\n\x1a\n"
_IMAGES = re.compile(r"video\d+/video")
_GIVEN_BY_SLEAP = re.compile(r"Skeleton-\d+")


def recognises(path: Path) -> bool:
    """Whether ``path`` is, or holds, an HDF5 file of the suffix .slp."""
    return bool(recognised_files(path, ".slp", _is_hdf5))


def names(path: Path) -> list[str]:
    """The stems of the labelled images, sorted.

    Raises:
        BadLabels: if the file cannot be used, or holds no labels of people.
    """
    file = only_file(path, ".slp", _is_hdf5, _TOOL)
    return sorted(_labelled(_load(file), file.name))


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels; see ``formats``."""
    file = only_file(path, ".slp", _is_hdf5, _TOOL)
    labels = _load(file)
    found = _labelled(labels, file.name)
    require_images(found, images, file.name)
    keypoints = tuple(
        dict.fromkeys(n for skeleton in labels.skeletons for n in skeleton.node_names)
    )
    flip_idx = _flip_idx(labels.skeletons, wanted.keypoints or keypoints)
    spec = wanted.resolve(file.name, _class_names(labels), keypoints, flip_idx)
    frames = {}
    for stem, frame in sorted(found.items()):
        where = f"{stem} in {file.name}"
        size = image_size(images[stem])
        checked = frame_labels(list(_objects(frame, spec.names, where)), spec, size, where)
        frames[stem] = LabelledFrame(images[stem].name, size, checked)
    return LabelSet(spec, frames)


def write(labels: LabelSet, folder: Path) -> None:
    """Write ``labels.slp``, which refers to the images by their names."""
    import sleap_io

    spec = labels.spec
    # Older SLEAP shows no category, but the skeleton's name.
    name = spec.names[0] if len(spec.names) == 1 else ANIMAL
    skeleton = sleap_io.Skeleton(
        nodes=list(spec.keypoints), symmetries=_symmetries(spec.flip_idx), name=name
    )
    categories = {name: sleap_io.Category(name) for name in spec.names}
    by_size: dict[tuple[int, int], list[LabelledFrame]] = {}
    for _, frame in sorted(labels.frames.items()):
        by_size.setdefault(frame.size_wh, []).append(frame)
    written = []
    for size, frames in by_size.items():
        video = _image_video([frame.file for frame in frames], size)
        for index, frame in enumerate(frames):
            objects = labelled_objects(frame.labels, spec, size)
            one = sleap_io.LabeledFrame(video=video, frame_idx=index, is_negative=not objects)
            for item in objects:
                _add(one, item, skeleton, categories[item.name])
            written.append(one)
    whole = sleap_io.Labels(
        written,
        skeletons=[skeleton] if spec.keypoints else [],
        categories=list(categories.values()),
    )
    with whole_file(folder / FILE) as beside:
        sleap_io.save_slp(whole, str(beside), embed=False, verbose=False)


def _is_hdf5(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _load(file: Path) -> "sleap_io.Labels":
    """Read a file of strangers; nothing that it names is opened."""
    import h5py
    import sleap_io

    try:
        with h5py.File(file, "r") as content:
            _check(content, file.name)
        # Resolved, so that no name can be taken for an address.
        labels = sleap_io.load_slp(str(file.resolve()), open_videos=False)
    except BadLabels:
        raise
    except Exception as error:  # What a broken file makes the two libraries raise is anything.
        raise BadLabels(
            f"{file.name} cannot be read as SLEAP's labels ({error}): save it anew in SLEAP."
        ) from error
    for place, video in enumerate(labels.videos):
        dataset = str(video.backend_metadata.get("dataset") or "")
        number = re.fullmatch(r"video(\d+)/video", dataset)
        if number and int(number[1]) != place:
            # sleap-io would need the videos open to tell which frame is of which.
            raise BadLabels(
                f"{file.name} numbers its videos with gaps, as old SLEAP did: save it anew."
            )
    return labels


def _check(content: "h5py.File", source: str) -> None:
    """Refuse what leads to other files, and tables that would fill the memory."""
    import h5py

    links: list[tuple[str, object]] = []
    # Collected first: h5py loses what is raised within.
    content.visititems_links(lambda name, link: links.append((name, link)))
    total = _attribute_bytes(content, source)
    for name, link in links:
        if not isinstance(link, h5py.HardLink):
            raise BadLabels(f"{source} holds a link, {name}: save it anew in SLEAP.")
        item = content[name]
        total += _attribute_bytes(item, source)
        if isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).rc > 1:
            # What is in it is visited once, and read once for each of its names.
            raise BadLabels(f"{source} holds a link, {name}: save it anew in SLEAP.")
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise BadLabels(
                    f"{source} holds data of other files, {name}: save it anew in SLEAP."
                )
            if not _IMAGES.fullmatch(name):
                total += item.nbytes
                if total <= MAX_BYTES and item.dtype.hasobject:
                    total += _text_bytes(item, source, MAX_BYTES - total)
        if total > MAX_BYTES:
            raise BadLabels(
                f"The tables of {source} take more than {MAX_BYTES} bytes: save it without "
                "predictions."
            )


def _text_bytes(table: "h5py.Dataset", source: str, most: int) -> int:
    """What the texts of a table take in memory; more than ``most`` are not counted to their end.

    A table holds only where its texts lie in the file, and many may lie at one place: so a
    small file may fill the memory.
    """
    import h5py

    kind = h5py.check_vlen_dtype(table.dtype)
    if table.ndim > 1 or kind is None or getattr(kind, "hasobject", False):
        raise BadLabels(f"{source} has a table, {table.name}, unlike SLEAP's: save it anew there.")
    if not table.shape:
        return sys.getsizeof(table[()])
    # No text is longer than the file: so many at once take an eighth of what is allowed.
    step = max(1, MAX_BYTES // 8 // table.file.id.get_filesize())
    total = 0
    for start in range(0, len(table), step):
        total += sum(map(sys.getsizeof, table[start : start + step]))
        if total > most:
            break
    return total


def _attribute_bytes(item: "h5py.Group | h5py.Dataset", source: str) -> int:
    """What the texts among an item's attributes take; each can be read as a whole only."""
    total = 0
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        if not attribute.dtype.hasobject:
            continue
        if attribute.shape or attribute.dtype.fields:
            raise BadLabels(f"{source} has an attribute, {name}, of many texts: save it anew.")
        total += sys.getsizeof(item.attrs[name])
    return total


def _labelled(labels: "sleap_io.Labels", source: str) -> dict[str, "sleap_io.LabeledFrame"]:
    """The frames that people labelled, by their images' stems.

    Raises:
        BadLabels: if there is none, or two have one stem.
    """
    found: dict[str, sleap_io.LabeledFrame] = {}
    videos = set()
    predicted = False
    for frame in labels.labeled_frames:
        if not _is_labelled(frame):
            predicted = predicted or bool(frame.predicted_instances)
            continue
        video = frame.video.original_video or frame.video
        if "crop" in frame.video.backend_metadata:
            raise BadLabels(f"{source} labels a cut-out of a video: give labels of all of it.")
        if isinstance(video.filename, list):
            if not 0 <= frame.frame_idx < len(video.filename):
                raise BadLabels(
                    f"{source} labels image {frame.frame_idx} of {len(video.filename)}: save it "
                    "anew in SLEAP."
                )
            stem = stem_of(video.filename[frame.frame_idx])
        else:
            videos.add((video.filename, frame.video.backend_metadata.get("dataset")))
            stem = frame_name(frame.frame_idx)
        if stem in found or len(videos) > 1:
            raise BadLabels(
                f"{source} labels {stem} twice, or in several videos: give one video's labels at "
                "a time."
            )
        found[stem] = frame
    if not found:
        what = "holds predictions only" if predicted else "labels no frame"
        raise BadLabels(f"{source} {what}: label some frames in SLEAP, or correct predictions.")
    return found


def _is_labelled(frame: "sleap_io.LabeledFrame") -> bool:
    others = (frame.centroids, frame.masks, frame.label_images, frame.rois)
    return (
        frame.is_negative
        or any(_is_placed(instance) for instance in frame.user_instances)
        or any(not box.is_predicted for box in frame.bboxes)
        or not (frame.instances or frame.bboxes or any(others))
    )


def _objects(
    frame: "sleap_io.LabeledFrame", names: Sequence[str], where: str
) -> Iterator[LabelledObject]:
    """The boxes with their instances, then the instances without a box."""
    left = {id(one): one for one in frame.user_instances if _is_placed(one)}
    for box in frame.bboxes:
        if box.is_predicted:
            continue
        instance = left.pop(id(box.instance), None)
        category = box.category or (instance and instance.category)
        hints = [*_hints(instance), box.track and box.track.name, box.name]
        name = (category and category.name) or class_of(hints, names, where)
        yield LabelledObject(name, box.bounds, _points(instance) if instance else {})
    for instance in left.values():
        category = instance.category
        name = (category and category.name) or class_of(_hints(instance), names, where)
        yield LabelledObject(name, None, _points(instance))


def _hints(instance: "sleap_io.Instance | None") -> list[str | None]:
    """What an instance is called, where it has no category."""
    if instance is None:
        return []
    return [instance.track and instance.track.name, instance.skeleton.name]


def _is_placed(instance: "sleap_io.Instance") -> bool:
    return bool(_points(instance))


def _points(instance: "sleap_io.Instance") -> dict[str, tuple[float, float, int]]:
    """The labelled points of an instance.

    sleap-io's own empty points lie at 0, 0, neither visible nor complete.
    """
    return {
        str(point["name"]): (float(x), float(y), 2 if point["visible"] else 1)
        for point in instance.points
        for x, y in [point["xy"]]
        if not (math.isnan(x) or math.isnan(y))
        and (point["visible"] or point["complete"] or x or y)
    }


def _class_names(labels: "sleap_io.Labels") -> tuple[str, ...]:
    """The classes as far as the file names any."""
    boxes = [box for frame in labels.labeled_frames for box in frame.bboxes]
    # The catalog lacks those that only boxes have.
    of_boxes = [box.category for box in boxes if box.category]
    categories = [each.name for each in (*labels.categories, *of_boxes) if each.name]
    skeletons = [skeleton.name or "" for skeleton in labels.skeletons]
    if not categories and not any(_GIVEN_BY_SLEAP.fullmatch(name) for name in skeletons):
        categories = [name for name in skeletons if name]
    return tuple(dict.fromkeys(categories)) or (ANIMAL,)


def _flip_idx(
    skeletons: "Sequence[sleap_io.Skeleton]", keypoints: Sequence[str]
) -> tuple[int, ...]:
    """What the symmetries say of ``keypoints``; empty if nothing, or what does not fit them."""
    mirrored: dict[str, str] = {}
    for skeleton in skeletons:
        for one, other in skeleton.symmetry_names:
            mirrored |= {one: other, other: one}
    places = [mirrored.get(name, name) for name in keypoints]
    if not mirrored or sorted(places) != sorted(keypoints):
        return ()
    return tuple(list(keypoints).index(name) for name in places)


def _image_video(files: Sequence[str], size_wh: tuple[int, int]) -> "sleap_io.Video":
    import sleap_io

    width, height = size_wh
    return sleap_io.Video(
        filename=list(files),
        backend_metadata={
            "type": "ImageVideo",
            "filename": files[0],
            "filenames": list(files),
            "shape": [len(files), height, width, 3],
            "grayscale": False,
        },
        open_backend=False,
    )


def _add(
    frame: "sleap_io.LabeledFrame",
    item: LabelledObject,
    skeleton: "sleap_io.Skeleton",
    category: "sleap_io.Category",
) -> None:
    """Put an object into a frame: a box, and an instance where it has key points."""
    from sleap_io import Instance, UserBoundingBox

    instance = None
    if item.keypoints:
        instance = Instance.empty(skeleton, category=category)
        instance.points["xy"] = math.nan
        for name, (x, y, visible) in item.keypoints.items():
            point = skeleton.index(name)
            instance.points["xy"][point] = x, y
            instance.points["visible"][point] = visible == 2
            instance.points["complete"][point] = True
        frame.instances.append(instance)
    assert item.xyxy is not None  # noqa: S101 labels always have boxes
    frame.bboxes.append(UserBoundingBox(*item.xyxy, instance=instance, category=category))


def _symmetries(flip_idx: Sequence[int]) -> list[tuple[int, int]]:
    return [(one, other) for one, other in enumerate(flip_idx) if one < other]
