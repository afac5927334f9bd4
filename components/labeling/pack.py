"""Labels as one archive in another tool's format."""

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from components.errors import disk_errors
from components.files import whole_file
from components.labeling.formats import FormatName, open_format
from components.labeling.label_set import LabelSet


def pack_labels(
    labels: LabelSet,
    form: FormatName,
    archive: Path,
    images: Mapping[str, Path] | None = None,
) -> None:
    """Write a zip of the labels, which appears whole.

    Args:
        form: the format of its files.
        archive: the file to make.
        images: by stem, those that are to lie in its ``images/``; none by default.

    Raises:
        BadInput: if the format cannot hold the labels.
        StorageFull: when the disk is full.
    """
    with disk_errors("the labels"), tempfile.TemporaryDirectory(prefix="actverse-labels-") as name:
        folder = Path(name)
        open_format(form).write(labels, folder)
        with whole_file(archive) as beside, zipfile.ZipFile(beside, "w") as packed:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                packed.write(path, path.relative_to(folder), zipfile.ZIP_DEFLATED)
            for stem in sorted((images or {}).keys() & labels.frames.keys()):
                # Pictures are compressed already.
                packed.write(images[stem], f"images/{labels.frames[stem].file}")  # type: ignore[index]
