"""Archives as strangers make them: unpacked, or refused with nothing left behind."""

import io
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import BadLabels, TooLarge
from components.labeling import archive
from components.labeling.archive import is_archive, unpacked


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


def _zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as packed:
        for member, content in members:
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def _content(path: Path) -> dict[str, bytes]:
    with unpacked(path) as folder:
        return {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }


FILES = {"top/labels/a.txt": b"0 0.5 0.5 0.1 0.1\n", "top/images/a.jpg": bytes(range(256)) * 999}


def test_a_zip_is_unpacked(tmp_path: Path):
    assert _content(_zip(tmp_path / "a.zip", {"top/": b"", **FILES})) == FILES


def test_a_tar_gz_is_unpacked(tmp_path: Path):
    members = [(_member(name), content) for name, content in FILES.items()]
    path = _tar(tmp_path / "a.tar.gz", (_member("./", tarfile.DIRTYPE), b""), *members)
    assert _content(path) == FILES


def test_paths_as_windows_writes_them_are_folders(tmp_path: Path):
    path = _zip(tmp_path / "a.zip", {"labels\\a.txt": b"1"})
    assert _content(path) == {"labels/a.txt": b"1"}


@pytest.mark.parametrize(
    ("name", "yes"),
    [("a.zip", 1), ("a.ZIP", 1), ("a.tar.gz", 1), ("a.tgz", 1), ("a.json", 0), ("a.gz", 0)],
)
def test_archives_are_told_by_their_names(name: str, yes: int):
    assert is_archive(Path(name)) == bool(yes)


CLIMBING = ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"]


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, kind: str):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        _zip(path, {"labels/a.txt": b"1", name: b"evil"})
    else:
        _tar(path, (_member("labels/a.txt"), b"1"), (_member(name), b"evil"))
    with pytest.raises(BadLabels, match="leads out of it"):
        _content(path)
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes):
    path = _tar(tmp_path / "a.tgz", (_member("a.txt", kind, "/etc/passwd"), b""))
    with pytest.raises(BadLabels, match=r"a link or device, 'a\.txt'"):
        _content(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    member = zipfile.ZipInfo("a.txt")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(BadLabels, match="a link or device"):
        _content(tmp_path / "a.zip")


def test_a_zip_bomb_is_stopped_before_it_is_unpacked(tmp_path: Path):
    path = _zip(tmp_path / "a.zip", {"a.json": bytes(100 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(TooLarge, match="far more than its size"):
        _content(path)


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path):
    path = _zip(tmp_path / "a.zip", {"a.json": bytes(100 * 2**20)})
    # Both headers say that one byte comes out.
    raw = path.read_bytes().replace((100 * 2**20).to_bytes(4, "little"), b"\1\0\0\0")
    path.write_bytes(raw)
    with pytest.raises((BadLabels, TooLarge)):
        _content(path)


def test_a_tar_bomb_is_stopped_before_it_is_unpacked(tmp_path: Path):
    path = _tar(tmp_path / "a.tgz", (_member("a.json"), bytes(100 * 2**20)))
    with pytest.raises(TooLarge, match="far more than its size"):
        _content(path)


def test_a_tar_with_a_huge_header_is_refused(tmp_path: Path):
    member = _member("a.json")
    member.pax_headers = {"comment": "x" * 2**21}
    with pytest.raises(BadLabels, match="broken"):
        _content(_tar(tmp_path / "a.tgz", (member, b"")))


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        _zip(path, {f"{i}.txt": b"" for i in range(4)})
    else:
        _tar(path, *((_member(f"{i}.txt"), b"") for i in range(4)))
    with pytest.raises(TooLarge, match="more than 3 files"):
        _content(path)


def _directory(
    path: Path, entries: int, *, said: int, name: str = "a", zip64: bool = False
) -> Path:
    """A zip that is nothing but the directory of so many files; its end says ``said``."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[20] * 2, *[0] * 7, len(name), *[0] * 6)
    directory = (entry + name.encode()) * entries
    end64 = b""
    if zip64:
        sizes = (said, said, len(directory), 0)
        end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, *sizes)
        end64 += struct.pack("<4sIQI", b"PK\6\7", 0, len(directory), 1)
    number, size = (0xFFFF, 0xFFFFFFFF) if zip64 else (said, len(directory))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, size, 0, 0)
    path.write_bytes(directory + end64 + end)
    return path


@pytest.mark.parametrize(
    ("entries", "said", "name", "zip64"),
    [
        pytest.param(400_000, 400_000, "a", True, id="zip64"),
        pytest.param(400_000, 1, "a", False, id="a lying number"),
        pytest.param(400_000, 1, "a", True, id="a lying number in zip64"),
        pytest.param(9_000, 9_000, "a" * 6000, False, id="long names"),
    ],
)
def test_the_directory_of_too_many_files_is_not_taken_into_memory(
    tmp_path: Path, entries: int, said: int, name: str, zip64: bool
):
    path = _directory(tmp_path / "a.zip", entries, said=said, name=name, zip64=zip64)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="more than 100000 files"):
            _content(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20


def test_files_in_a_zip64_are_counted_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    files = {f"{i}.txt": b"1" for i in range(4)}
    path = _zip(tmp_path / "a.zip", files)
    assert b"PK\6\6" in path.read_bytes()
    assert _content(path) == files
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    with pytest.raises(TooLarge, match="more than 3 files"):
        _content(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path):
    path = _zip(tmp_path / "a.zip", {"a.txt": b"1"}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\3\4") + 6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(BadLabels, match="without a password"):
        _content(path)


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path):
    path = _tar(tmp_path / "a.tgz", (_member("a.txt"), b"1"), (_member("./a.txt"), b"2"))
    with pytest.raises(BadLabels, match="twice"):
        _content(path)
    path = _zip(tmp_path / "a.zip", {"a": b"1", "a/b.txt": b"2"})
    with pytest.raises(BadLabels, match="twice"):
        _content(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_a_rare_way_is_refused(tmp_path: Path, compression: int):
    with pytest.raises(BadLabels, match="rare way"):
        _content(_zip(tmp_path / "a.zip", {"a.txt": b"1" * 999}, compression))


def _truncate(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _flip(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0xFF]) + raw[middle + 1 :]


@pytest.mark.parametrize("spoil", [_truncate, _flip, lambda raw: b"hello", lambda raw: b""])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_broken_archive_is_named(tmp_path: Path, kind: str, spoil: Callable[[bytes], bytes]):
    path, content = tmp_path / f"a.{kind}", bytes(range(256)) * 999
    if kind == "zip":
        _zip(path, {"a.bin": content}, zipfile.ZIP_STORED)
    else:
        _tar(path, (_member("a.bin"), content))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BadLabels, match=r"a\.(zip|tar\.gz)"):
        _content(path)
