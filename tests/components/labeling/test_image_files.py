"""An image's size from its header alone, as it is decoded."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from components.errors import BadLabels
from components.labeling.image_files import checked_stem, image_size


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
def test_the_size_is_the_decoded_one(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))
    assert image_size(path) == (60, 40)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_image_that_lies_on_its_side_is_turned_as_when_decoded(tmp_path: Path, orientation):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert image_size(path) == cv2.imread(str(path)).shape[1::-1]


def test_what_is_no_image_is_named(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 9)
    with pytest.raises(BadLabels, match=r"a\.png cannot be read"):
        image_size(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.jpg", "x/a.jpg", "C:\\x\\a.jpg", "../a.jpg", "/y/a"])
def test_a_stem_is_a_name_alone(name: str):
    assert checked_stem(name, "labels.json") == "a"


@pytest.mark.parametrize("name", ["", "/", "..", "x/.."])
def test_a_name_of_no_file_is_refused(name: str):
    with pytest.raises(BadLabels, match="names an image"):
        checked_stem(name, "labels.json")
