"""Labels brought to where a task keeps them: YOLO text, whatever they were before."""

from collections.abc import Mapping
from pathlib import Path

from components.errors import BadLabels
from components.files import link_or_copy, whole_folder
from components.labeling.formats.yolo import DECIMALS
from components.labeling.image_files import require_images
from components.labeling.label_set import LabelSet
from components.labels import format_yolo_labels
from components.steps import Progress, no_progress

_NAMED_FAULTS = 3


def keep_labels(
    labels: LabelSet,
    target: Path,
    images: Mapping[str, Path] | None = None,
    progress: Progress = no_progress,
) -> dict[str, int]:
    """Write labels to ``target``, which appears whole.

    Args:
        labels: checked ones; what is among ``skipped`` is left out.
        target: gets ``NAME.txt``, and ``images/NAME.jpg`` where ``images`` is given.
        images: the images that came along with the labels, by stem; none if the labels are
            of a video's frames.
        progress: told of images.

    Returns:
        The numbers of ``images`` and ``objects``, and of objects by class name.

    Raises:
        BadLabels: for labels with faults, labels without a single object, and a label whose
            image is not among ``images``.
        StorageFull: when the disk is full.
    """
    if labels.faults:
        some = " ".join(list(labels.faults.values())[:_NAMED_FAULTS])
        raise BadLabels(
            f"The labels of {len(labels.faults)} images cannot be used; mend them: {some}"
        )
    counts = labels.objects
    if not any(counts.values()):
        raise BadLabels(
            f"The labels of {len(labels.frames)} images hold no object at all: label some first."
        )
    if images:
        require_images(labels.frames, images, "the set")
    with whole_folder(target) as beside:
        for done, (stem, frame) in enumerate(sorted(labels.frames.items()), start=1):
            text = format_yolo_labels(frame.labels, DECIMALS)
            (beside / f"{stem}.txt").write_text(text, encoding="utf-8")
            if images:
                link_or_copy(images[stem], beside / "images" / images[stem].name)
            progress(done, len(labels.frames))
    return {"images": len(labels.frames), "objects": sum(counts.values()), **counts}
