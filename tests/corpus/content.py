"""Files that attackers give, as data: each with its maker, where it is given, and what is right.

``tests/test_attack_corpus.py`` walks all of it; who finds a new attack adds a line. Every file is
made small, and made anew: none of them is to lie around.
"""

import io
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tests.helpers import hostile_onnx

Entry = Literal["onnx", "checkpoint", "archive", "image", "video", "file name"]


@dataclass(frozen=True)
class Attack:
    """A file, or a name, that somebody gives.

    Attributes:
        name: as the file is called; its suffix is part of the attack.
        entry: where it is given.
        tries: what its maker wants.
        make: writes it; a file name needs no file.
        refused: what the refusal says (a pattern); empty where it does no harm and is taken.
        leaks: a file outside, which must not be there afterwards.
    """

    name: str
    entry: Entry
    tries: str
    make: Callable[[Path], object]
    refused: str
    leaks: str = ""

    def __str__(self) -> str:
        return f"{self.entry}: {self.name}"


def png(
    path: Path,
    width: int,
    height: int,
    *,
    said: tuple[int, int] | None = None,
    cut: bool = False,
) -> None:
    """A PNG of one colour, a thousandth of what it is decoded to; its header may say more."""
    pack = zlib.compressobj(9)
    row = b"\0" * (1 + 3 * width)
    data = b"".join([pack.compress(row) for _ in range(height)] + [pack.flush()])
    header = struct.pack(">IIBBBBB", *(said or (width, height)), 8, 2, 0, 0, 0)
    raw = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*one) for one in [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    )
    path.write_bytes(raw[: len(raw) // 2] if cut else raw)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pillow(path: Path, kind: str, wh: tuple[int, int], **options: object) -> None:
    from PIL import Image

    Image.new("1" if kind == "TIFF" else "RGB", wh).save(path, kind, **options)


def _jpeg(path: Path, width: int, height: int) -> None:
    """A small JPEG whose header says more."""
    _pillow(path, "JPEG", (64, 64))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\xff\xc0")
    raw[at + 5 : at + 9] = struct.pack(">HH", height, width)
    path.write_bytes(bytes(raw))


def _webp(path: Path) -> None:
    """A small WebP whose header says more."""
    _pillow(path, "WEBP", (64, 64))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x9d\x01\x2a")
    raw[at + 3 : at + 7] = struct.pack("<HH", 16383, 16383)
    path.write_bytes(bytes(raw))


def _animated(path: Path, kind: str) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (64, 64), (grey, 0, 0)) for grey in range(0, 250, 25)]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])


def _jpeg_2000(path: Path) -> None:
    _pillow(path, "JPEG2000", (64, 64))


def _radiance(path: Path) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(path.with_suffix(".hdr")), np.zeros((64, 64, 3), np.float32))
    path.with_suffix(".hdr").rename(path)


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _png_and_zip(path: Path) -> None:
    png(path, 64, 64)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("../out.txt", "evil")


def mjpeg(path: Path, width: int, height: int, *, frames: int = 3) -> None:
    """Motion JPEG in AVI, of one colour."""
    from tests.helpers.videos import write_video

    small = path.with_name(f"small_{path.name}")
    write_video(small, frames=frames, wh=(64, 64), codec="mjpeg", pixel_format="yuvj420p")
    raw = bytearray(small.read_bytes())
    small.unlink()
    # In every frame's own header, and in the container's.
    at = raw.find(b"\xff\xc0")
    while at >= 0:
        raw[at + 5 : at + 9] = struct.pack(">HH", height, width)
        at = raw.find(b"\xff\xc0", at + 1)
    size = struct.pack("<ii", 64, 64)
    at = raw.find(size)
    while at >= 0:
        raw[at : at + 8] = struct.pack("<ii", width, height)
        at = raw.find(size, at + 8)
    path.write_bytes(bytes(raw))


def _mjpeg_that_grows(path: Path) -> None:
    """Its first frame is small, as its container says, and a later one is huge."""
    from tests.helpers.videos import write_video

    write_video(path, frames=3, wh=(64, 64), codec="mjpeg", pixel_format="yuvj420p")
    raw = bytearray(path.read_bytes())
    at = raw.rfind(b"\xff\xc0")
    raw[at + 5 : at + 9] = struct.pack(">HH", 16000, 16000)
    path.write_bytes(bytes(raw))


def _play_list(path: Path) -> None:
    _text(path, "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")


class _Opens:
    """Makes a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Opens(path.with_name("ran")), protocol=2))


def _torch_pickle(path: Path) -> None:
    import torch

    torch.save({"model": _Opens(path.with_name("ran"))}, path)


def _zip(path: Path, name: str, content: bytes = b"evil", mode: int = 0) -> None:
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(member, content)


def _tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    with tarfile.open(path, "w:gz") as packed:
        packed.addfile(member, io.BytesIO(b""))


def _nested_zip(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", bytes(50 * 2**20))
    _zip(path, "inner.zip", inner.getvalue())


def _nothing(path: Path) -> None:
    """A file name is all there is."""


def _graphs() -> Iterator[Attack]:
    graph = partial(Attack, entry="onnx")
    h = hostile_onnx
    slow = "does not answer within 1 s on a frame of 96 x 96 pixels: it is not served"
    yield graph("endless.onnx", tries="hold a worker", make=h.endless, refused=slow)
    yield graph(
        "endless_when_black.onnx",
        tries="pass its trial, and hold Triton later: ended there, by time",
        make=h.endless_when_black,
        refused="",
    )
    yield graph(
        "bomb.onnx", tries="take the memory", make=h.memory_bomb, refused="cannot be run.*memory"
    )
    yield graph(
        "bomb_when_loaded.onnx",
        tries="take the memory before anything is asked",
        make=partial(h.bomb_when_loaded, parts=4),
        refused="bad_alloc|memory",
    )
    yield graph(
        "functions.onnx",
        tries="be a million times larger once its functions are inlined",
        make=h.function_bomb,
        refused="not a valid model|was not tried out|cannot load",
    )
    yield graph(
        "nodes.onnx",
        tries="be a hundred times larger once it is read",
        make=partial(h.many_nodes, nodes=8_000_000),
        refused="not a whole ONNX file|memory|not a valid model",
    )
    yield graph(
        "outside.onnx",
        tries="read another file",
        make=partial(h.external_data, other="../../../../etc/passwd"),
        refused="outside of itself",
    )
    yield graph(
        "custom.onnx", tries="run its own code", make=h.custom_operator, refused="evil.example"
    )
    yield graph(
        "talks.onnx",
        tries="fill the memory with words of itself",
        make=partial(h.huge_metadata, size=10 * 2**20),
        refused="no readable 'actverse.card'",
    )
    yield graph("no_card.onnx", tries="be taken unread", make=h.without_card, refused="no readable")
    text = partial(_text, text="no model")
    yield graph("text.onnx", tries="break the reader", make=text, refused="not a whole ONNX file")


def _checkpoints() -> Iterator[Attack]:
    told = "cannot be loaded as a trained model"
    for name, make in (("pickle.pt", _pickle), ("torch.pt", _torch_pickle)):
        yield Attack(name, "checkpoint", "run code when it is loaded", make, told, leaks="ran")


def _archives() -> Iterator[Attack]:
    archive = partial(Attack, entry="archive", leaks="../out.txt")
    out = "leads out of it"
    for number, name in enumerate(
        ("../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt")
    ):
        for kind, make in (("zip", _zip), ("tar.gz", _tar)):
            yield archive(
                f"climbs_{number}.{kind}",
                tries="write beside the folder",
                make=partial(make, name=name),
                refused=out,
            )
    device = "a link or device"
    link = partial(_zip, name="a.txt", content=b"/etc/passwd", mode=stat.S_IFLNK | 0o777)
    yield archive("link.zip", tries="read a foreign file", make=link, refused=device)
    for name, kind in (("symbolic", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
        make = partial(_tar, name="a.txt", kind=kind, link="/etc/passwd")
        yield archive(f"{name}.tgz", tries="read a foreign file", make=make, refused=device)
    fifo = partial(_tar, name="a.txt", kind=tarfile.FIFOTYPE)
    yield archive("fifo.tgz", tries="hold the reader", make=fifo, refused=device)
    bomb = partial(_zip, name="a.json", content=bytes(100 * 2**20))
    yield archive("bomb.zip", tries="fill the disk", make=bomb, refused="far more than its size")
    yield archive("nested.zip", tries="hide a bomb: it stays packed", make=_nested_zip, refused="")


def _images() -> Iterator[Attack]:
    image = partial(Attack, entry="image")
    large = r"pixels.* allowed: scale it down"
    other = "cannot be read: replace it"
    memory = "take the memory once it is decoded"
    make = partial(png, width=8200, height=8200)
    yield image("wide.png", tries=memory, make=make, refused=large)
    make = partial(png, width=64, height=64, said=(40000, 40000))
    yield image("giga.png", tries=memory, make=make, refused=large)
    yield image(
        "giga.jpg", tries=memory, make=partial(_jpeg, width=60000, height=60000), refused=large
    )
    yield image(
        "giga.tif",
        tries=memory,
        make=partial(_pillow, kind="TIFF", wh=(9000, 9000), compression="tiff_lzw"),
        refused=large,
    )
    yield image("giga.webp", tries=memory, make=_webp, refused=f"{large}|{other}")
    yield image("giga.bmp", tries=memory, make=lambda path: _bmp(path, 40000, 40000), refused=large)
    yield image(
        "gif.png", tries="be of another format", make=partial(_animated, kind="GIF"), refused=other
    )
    for kind in ("WEBP", "PNG"):
        yield image(
            f"animated.{kind.lower()}",
            tries="hold many frames",
            make=partial(_animated, kind=kind),
            refused="is animated",
        )
    yield image("jpeg2000.png", tries="reach a rare decoder", make=_jpeg_2000, refused=other)
    yield image("radiance.png", tries="reach a rare decoder", make=_radiance, refused=other)
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield image("svg.png", tries="fetch a file", make=partial(_text, text=svg), refused=other)
    cut = partial(png, width=640, height=480, cut=True)
    yield image("cut.png", tries="break the decoder", make=cut, refused="cannot be read")
    yield image(
        "polyglot.png",
        tries="be an archive too: it is read as an image",
        make=_png_and_zip,
        refused="",
    )


def _bmp(path: Path, width: int, height: int) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(300))


def _videos() -> Iterator[Attack]:
    video = partial(Attack, entry="video")
    huge = r"frames of 16000x16000 pixels|more than the|breaks after"
    yield video(
        "huge.avi",
        tries="take the memory once it is decoded",
        make=partial(mjpeg, width=16000, height=16000),
        refused=huge,
    )
    yield video(
        "grows.avi",
        tries="take the memory behind a small first frame",
        make=_mjpeg_that_grows,
        refused="breaks after|changes its size|allowed",
    )
    yield video("list.mp4", tries="read a foreign file", make=_play_list, refused="cannot be read")


def _file_names() -> Iterator[Attack]:
    for name in ("../other/a.mp4", "/etc/passwd", "a/../../other", "..", "a\0b"):
        yield Attack(name, "file name", "reach another user's files", _nothing, "own files|null")


CONTENT = (
    *_graphs(),
    *_checkpoints(),
    *_archives(),
    *_images(),
    *_videos(),
    *_file_names(),
)
