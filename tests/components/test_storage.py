"""The storage's contract, on a folder and on S3.

S3 is moto's server in a process of its own, the one store that the package index has;
tests/helpers/s3_server.py says where it differs from a real one. The contract runs on any
real store, too, when ACTVERSE_TEST_S3_ENDPOINT names it; credentials as boto3 looks for
them, ACTVERSE_S3_REGION for its region, ACTVERSE_TEST_S3_BUCKET for a bucket that is
there (without it one is made and removed).
"""

import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.errors import (
    ActverseError,
    BadInput,
    NotFound,
    Refused,
    StorageFull,
    Unavailable,
)
from components.s3_objects import S3Objects, s3_client
from components.s3_storage import S3Storage
from components.settings import Settings
from components.storage import Storage, open_storage
from tests.helpers.s3_server import CREDENTIALS, S3Server, running_s3

REAL = os.environ.get("ACTVERSE_TEST_S3_ENDPOINT", "")
MIB = 2**20
PART = 5 * MIB  # the smallest that S3 takes


@dataclass
class Place:
    """Where a storage lies, and the machines that use it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def open(self, machine: str = "here") -> Storage:
        return open_storage(Settings(home=self.folder / machine, **self.settings))

    def on_s3(self, machine: str = "here", **changed: Any) -> S3Storage:
        """With small parts or pages."""
        settings = Settings(home=self.folder / machine, **self.settings)
        bucket, _, prefix = settings.root.removeprefix("s3://").partition("/")
        client = s3_client(settings.s3_endpoint, settings.s3_region)
        settings.layout.root.mkdir(parents=True, exist_ok=True)
        return S3Storage(S3Objects(client, bucket, prefix, **changed), settings.layout)


@pytest.fixture
def s3_place(s3: S3Server, tmp_path: Path) -> Place:
    """A prefix of a new bucket at moto's server."""
    root = f"s3://{s3.new_bucket()}/some/prefix"
    return Place(tmp_path, {"root": root, "s3_endpoint": s3.endpoint})


@pytest.fixture
def real_place(tmp_path: Path) -> Iterator[Place]:
    """A new prefix at the store of the environment; it is emptied in the end."""
    region = os.environ.get("ACTVERSE_S3_REGION", "us-east-1")
    client = s3_client(REAL, region)
    bucket = os.environ.get("ACTVERSE_TEST_S3_BUCKET", "")
    made = "" if bucket else f"actverse-test-{uuid.uuid4().hex}"
    if made:
        where: Any = {"LocationConstraint": region}
        elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": where}
        client.create_bucket(Bucket=made, **elsewhere)
    root = f"s3://{bucket or made}/{uuid.uuid4().hex}"
    place = Place(tmp_path, {"root": root, "s3_endpoint": REAL, "s3_region": region})
    yield place
    objects = place.on_s3().objects
    objects.delete(one.key for one in objects.below(""))
    if made:
        client.delete_bucket(Bucket=made)


@pytest.fixture(params=["folder", "moto", *(["real"] if REAL else [])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(tmp_path, {"root": str(tmp_path / "root")})
    found: Place = request.getfixturevalue("s3_place" if request.param == "moto" else "real_place")
    return found


@pytest.fixture
def storage(place: Place) -> Storage:
    return place.open()


def put(storage: Storage, key: str, content: bytes = b"content") -> None:
    storage.write(key, [content], max_bytes=100 * MIB)


def get(storage: Storage, key: str, **part: Any) -> bytes:
    return b"".join(storage.read(key, **part))


def keys(storage: Storage, prefix: str, **changed: Any) -> list[str]:
    return [file.key for file in storage.files(prefix, **changed)]


def put_local(storage: Storage, key: str, content: bytes = b"content") -> Path:
    path = storage.path_of(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def leftovers(storage: Storage) -> list[Path]:
    return list(storage.layout.root.rglob(".*"))


def requests_of(storage: S3Storage) -> list[str]:
    """The names of the requests that are made from now on."""
    made: list[str] = []

    def note(event_name: str, **_: object) -> None:
        made.append(event_name.rpartition(".")[2])

    storage.objects.client.meta.events.register("before-send.s3", note)
    return made


# The contract, on each storage.


def test_what_is_written_is_there(storage: Storage) -> None:
    assert storage.stat("users/ann/a.bin") is None
    stored = storage.write("users/ann/a.bin", [b"con", b"", b"tent"], max_bytes=7)
    assert (stored.key, stored.bytes) == ("users/ann/a.bin", 7)
    assert abs(datetime.now(UTC) - stored.modified) < timedelta(minutes=15)
    assert storage.stat("users/ann/a.bin") == stored
    assert list(storage.files("users/ann")) == [stored]
    assert get(storage, "users/ann/a.bin") == b"content"
    assert storage.stat("users/ann") is None
    assert leftovers(storage) == []


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    stored = storage.write("a", [], max_bytes=0)
    assert stored.bytes == 0
    assert get(storage, "a") == b""


def test_a_part_of_a_file_is_read(storage: Storage) -> None:
    content = os.urandom(2 * MIB + 5)
    put(storage, "a", content)
    size = len(content)
    for start, length in [(0, None), (3, None), (0, 10), (7, MIB + 3), (size - 1, 1), (5, 0)]:
        end = None if length is None else start + length
        assert get(storage, "a", start=start, length=length) == content[start:end]
    assert get(storage, "a", start=size - 2, length=10) == content[-2:]
    assert get(storage, "a", start=size) == b""
    assert get(storage, "a", start=size + 5, length=3) == b""
    for start, length in [(-1, None), (0, -1)]:
        with pytest.raises(BadInput, match="range"):
            storage.read("a", start=start, length=length)


@pytest.mark.parametrize("part", [{}, {"start": 5}, {"length": 0}])
def test_a_missing_file_is_named_before_the_first_byte(storage: Storage, part: Any) -> None:
    put(storage, "folder/a")
    for key in ("none", "folder", "folder/a/b"):
        with pytest.raises(NotFound, match=f"no file {key}:"):
            storage.read(key, **part)


def test_an_upload_that_is_too_large_leaves_the_old_file(storage: Storage) -> None:
    put(storage, "a", b"old")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield bytes(1000)

    with pytest.raises(BadInput, match="10000 bytes allowed"):
        storage.write("a", endless(), max_bytes=10_000)
    assert sent == 11_000
    assert get(storage, "a") == b"old"
    with pytest.raises(BadInput):
        storage.write("b", [b"12", b"34"], max_bytes=3)
    assert storage.stat("b") is None
    assert leftovers(storage) == []


@pytest.mark.parametrize(
    ("error", "raised", "sentence"),
    [(KeyError("gone"), KeyError, "gone"), (BrokenPipeError(), Unavailable, "upload of . broke")],
)
def test_an_upload_that_breaks_off_leaves_the_old_file(
    storage: Storage, error: Exception, raised: type[Exception], sentence: str
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise error

    put(storage, "a", b"old")
    for key in ("a", "b"):
        with pytest.raises(raised, match=sentence):
            storage.write(key, broken(), max_bytes=MIB)
    assert get(storage, "a") == b"old"
    assert storage.stat("b") is None
    assert leftovers(storage) == []


def test_readers_see_one_version_of_a_file(storage: Storage) -> None:
    size = 256 * 1024
    put(storage, "a", bytes([0]) * size)
    stop, seen = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            content = get(storage, "a")
            seen.append((len(content), len(set(content))))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 30):
            put(storage, "a", bytes([number]) * size)
    finally:
        stop.set()
        reader.join(30)
    assert set(seen) == {(size, 1)}


def test_an_upload_is_never_in_memory(place: Place) -> None:
    code = """
from pathlib import Path
from components.settings import Settings
from components.storage import open_storage
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
storage = open_storage(Settings())
storage.write("warm", [bytes(1000)], max_bytes=10**9)
before = peak()
storage.write("large", (bytes(2**20) for _ in range(96)), max_bytes=10**9)
print((peak() - before) // 1024)
"""
    settings = Settings(home=place.folder / "here", **place.settings)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=settings.environment(secrets=True),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < 64
    assert place.open().stat("large").bytes == 96 * MIB


def test_files_come_in_the_order_of_their_keys(storage: Storage) -> None:
    named = ["f/a/b", "f/a-b", "f/a.b", "f/a/B", "f/a0", "f/ä/é ü+%#?&='\"~.txt", "f/Z/z/z", "fa/a"]
    for key in [*named, "top"]:
        put(storage, key)
    expected = sorted(key for key in named if key.startswith("f/"))
    assert keys(storage, "f") == expected
    assert keys(storage, "f/a") == ["f/a/B", "f/a/b"]
    assert keys(storage, "") == sorted([*named, "top"])
    assert keys(storage, "f", limit=3) == expected[:3]
    assert keys(storage, "f", limit=0) == []
    for after in [*expected, "f/a", "f/a/A", "a", "g"]:
        assert keys(storage, "f", after=after) == [key for key in expected if key > after]
    assert keys(storage, "f", after=expected[1], limit=2) == expected[2:4]
    assert keys(storage, "none") == keys(storage, "top") == []
    assert all(get(storage, key) == b"content" for key in expected)


ODD = ["", "/etc/passwd", "a//b", "a/", "../a", "a/../../b", "a/..", "./a", ".", "a\\..\\b", "a\0b"]
ODD += ["a\nb", "a\x7f", "\ud800", "a" * 201, "a/" * 500 + "a"]


def test_odd_keys_are_refused(storage: Storage) -> None:
    uses: list[Callable[[str], object]] = [
        *(storage.path_of, storage.stat, storage.read, storage.delete),
        lambda key: put(storage, key),
        lambda key: storage.link(key, 60),
        lambda key: storage.files(key or ".."),
        lambda key: storage.files("f", after=key or ".."),
    ]
    for key, use in itertools.product(ODD, uses):
        with pytest.raises(Refused, match="storage key"):
            use(key)


@pytest.mark.parametrize("key", [".a", "a/.b", ".a/b"])
def test_names_that_begin_with_a_dot_are_not_written(storage: Storage, key: str) -> None:
    with pytest.raises(Refused, match="dot"):
        put(storage, key)


def test_keys_and_paths_belong_together(storage: Storage, tmp_path: Path) -> None:
    layout = storage.layout
    assert storage.path_of("users/ann/a b.txt") == layout.root / "users" / "ann" / "a b.txt"
    assert storage.key_of(layout.frames("t1")) == "frames/t1"
    assert storage.key_of(layout.user_file("ann", "x/../y")) == "users/ann/y"
    for path in (layout.root, tmp_path, layout.root / ".." / "a", Path("a")):
        with pytest.raises(Refused):
            storage.key_of(path)


def test_what_is_deleted_is_gone(storage: Storage) -> None:
    for key in ("a", "f/a", "f/b/c", "fa", "f-a"):
        put(storage, key)
    assert storage.delete("f") == 2
    assert storage.delete("f") == 0
    assert storage.delete("fa/b") == 0
    assert keys(storage, "") == ["a", "f-a", "fa"]
    assert storage.delete("a") == 1
    assert keys(storage, "") == ["f-a", "fa"]
    assert leftovers(storage) == []


def test_one_machine_keeps_and_another_brings(place: Place) -> None:
    here, there = place.open(), place.open("there")
    content = {"frames/t1/a.jpg": b"1", "frames/t1/b/c.jpg": b"2" * MIB, "frames/t1/empty": b""}
    for key, value in content.items():
        put_local(here, key, value)
    here.keep(here.layout.frames("t1"))
    assert there.bring(there.layout.frames("t1")) == there.layout.frames("t1")
    assert keys(there, "frames/t1") == sorted(content)
    for key, value in content.items():
        assert there.path_of(key).read_bytes() == value
        assert get(there, key) == value

    put_local(here, "frames/t1/a.jpg", b"3")
    here.path_of("frames/t1/b/c.jpg").unlink()
    put_local(here, "frames/t1/d", b"4")
    put_local(here, "frames/t1/.d.1234.tmp", b"half")
    here.keep(here.layout.frames("t1"))
    assert keys(there, "frames/t1") == ["frames/t1/a.jpg", "frames/t1/d", "frames/t1/empty"]
    there.bring(there.layout.frames("t1"), exact=True)
    assert there.path_of("frames/t1/a.jpg").read_bytes() == b"3"
    assert not there.path_of("frames/t1/b/c.jpg").exists()


def test_one_file_is_kept_and_brought(place: Place) -> None:
    here, there = place.open(), place.open("there")
    put_local(here, "train_log/t1/other")
    here.keep(put_local(here, "train_log/t1/model.pt", b"weights"))
    path = there.layout.train_log("t1") / "model.pt"
    assert there.bring(path) == path
    assert path.read_bytes() == b"weights"


def test_what_is_not_there_is_neither_brought_nor_kept(storage: Storage, tmp_path: Path) -> None:
    put(storage, "a")
    for path in (storage.layout.frames("t1"), storage.layout.root / "a" / "b"):
        with pytest.raises(NotFound, match="nothing at"):
            storage.bring(path)
        with pytest.raises(NotFound):
            storage.keep(path)
    for path in (tmp_path, storage.layout.root):
        with pytest.raises(Refused):
            storage.bring(path)
        with pytest.raises(Refused):
            storage.keep(path)


def test_a_storage_in_order_is_found_so(storage: Storage) -> None:
    storage.check()
    assert leftovers(storage) == []


def test_a_local_folder_that_is_gone_is_named(storage: Storage) -> None:
    shutil.rmtree(storage.layout.root)
    for use in (storage.check, lambda: put(storage, "a")):
        with pytest.raises(Unavailable, match=r"storage folder .* cannot be used"):
            use()
    assert not storage.layout.root.exists()


# What only a folder has.


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(Settings(home=tmp_path / "home", root=str(tmp_path / "root")))


def test_links_lead_nowhere_else(folder: Storage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for key in ("users/ann/mine", "users/bob/hers", "frames/t1/a"):
        put(folder, key)
    ann = folder.layout.root / "users" / "ann"
    targets = {
        "out": tmp_path / "secret",
        "out_folder": tmp_path,
        "bob": ann.parent / "bob",
        "bobs": ann.parent / "bob" / "hers",
        "frame": folder.layout.root / "frames" / "t1" / "a",
        "circle": ann / "circle",
        "inside": ann / "mine",
    }
    for name, target in targets.items():
        (ann / name).symlink_to(target)
    refused = ["out", "out_folder/secret", "bob/hers", "bobs", "frame", "circle"]
    for key in [f"users/ann/{name}" for name in refused]:
        for use in (folder.path_of, folder.stat, folder.read, folder.delete):
            with pytest.raises(Refused, match="by a link"):
                use(key)
        with pytest.raises(Refused, match="by a link"):
            put(folder, key)
    with pytest.raises(Refused):
        folder.files("users/ann/out_folder")
    assert keys(folder, "users") == ["users/ann/inside", "users/ann/mine", "users/bob/hers"]
    assert get(folder, "users/ann/inside") == b"content"
    assert folder.delete("users/ann") == 2
    assert (tmp_path / "secret").exists()
    assert keys(folder, "") == ["frames/t1/a", "users/bob/hers"]


def test_a_root_that_is_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    storage = open_storage(Settings(home=tmp_path / "home", root=str(tmp_path / "root")))
    put(storage, "users/ann/a")
    path = storage.layout.user_file("ann", "a")
    assert storage.bring(path) == path
    assert storage.key_of(path) == "users/ann/a"


def test_names_that_can_be_no_key_are_not_listed(folder: Storage) -> None:
    put(folder, "f/a")
    for name in (b"line\nbreak", b"\xff", b"back\\slash"):
        Path(os.fsdecode(os.fsencode(folder.layout.root / "f") + b"/" + name)).write_bytes(b"x")
    assert keys(folder, "f") == ["f/a"]


def test_a_file_and_a_folder_do_not_share_a_name(folder: Storage) -> None:
    put(folder, "a/b")
    with pytest.raises(BadInput, match="a is a folder"):
        put(folder, "a")
    with pytest.raises(BadInput, match="part of a/b/c/d is a file"):
        put(folder, "a/b/c/d")
    assert get(folder, "a/b") == b"content"


def test_a_folder_gives_no_links(folder: Storage) -> None:
    assert folder.link("a", 60) is None


def test_a_full_disk_keeps_what_was_whole(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "root")]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        storage = open_storage(Settings(home=tmp_path / "home", root=str(tmp_path / "root")))
        put(storage, "a", b"old")
        with pytest.raises(StorageFull, match="No space is left"):
            put(storage, "a", bytes(MIB))
        assert get(storage, "a") == b"old"
        assert leftovers(storage) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "root")], check=True)


# What only S3 has, at moto's server.


def in_pieces(parts: int) -> bytes:
    """More than one part, each different."""
    return b"".join(bytes([number]) * PART for number in range(parts)) + b"end"


def test_large_files_go_in_parts_and_come_back(s3_place: Place) -> None:
    here, there = s3_place.on_s3(part_bytes=PART), s3_place.on_s3("there", part_bytes=PART)
    content, path = in_pieces(2), put_local(here, "videos/t1/video.mp4", in_pieces(2))
    sent, came = requests_of(here), requests_of(there)
    here.keep(path)
    assert sent.count("UploadPart") == 3
    stored = here.stat("videos/t1/video.mp4")
    assert stored is not None
    assert stored.checksum.endswith("-3")
    there.bring(there.layout.video("t1"))
    assert came.count("GetObject") == 3
    assert (there.layout.video("t1") / "video.mp4").read_bytes() == content
    assert get(there, "videos/t1/video.mp4") == content


def test_each_part_carries_a_checksum_for_the_store(s3_place: Place) -> None:
    here = s3_place.on_s3(part_bytes=PART)
    carried: list[set[str]] = []

    def note(request: Any, event_name: str, **_: object) -> None:
        if event_name.endswith(("UploadPart", "PutObject")):
            carried.append({name.lower() for name in request.headers})

    here.objects.client.meta.events.register("before-send.s3", note)
    put(here, "small")
    put(here, "large", in_pieces(1))
    assert len(carried) == 3
    assert all("x-amz-checksum-crc32" in names for names in carried)


def test_progress_grows_to_the_total(s3_place: Place) -> None:
    here, there = s3_place.on_s3(part_bytes=PART), s3_place.on_s3("there", part_bytes=PART)
    sizes = {"a": len(in_pieces(2)), "b": 3, "c": 0}
    put_local(here, "videos/t1/a", in_pieces(2))
    put_local(here, "videos/t1/b", b"end")
    put_local(here, "videos/t1/c", b"")
    total, caller = sum(sizes.values()), threading.current_thread()
    moves: list[int] = []
    # The second time, all is there already.
    for move in (here.keep, here.keep, there.bring, there.bring):
        told: list[tuple[float, float]] = []

        def note(done: float, whole: float, told: list = told, **_: object) -> None:
            assert threading.current_thread() is caller
            told.append((done, whole))

        move((here if move == here.keep else there).layout.video("t1"), note)
        assert told[-1] == (total, total)
        assert {whole for _, whole in told} == {total}
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        moves.append(len(told))
    assert moves[0] >= 3
    assert moves[2] >= 3


def test_what_is_the_same_is_not_moved_again(s3_place: Place) -> None:
    here, there = s3_place.on_s3(), s3_place.on_s3("there")
    for name in ("a", "b", "c"):
        put_local(here, f"frames/t1/{name}", b"old " + name.encode())
    here.keep(here.layout.frames("t1"))
    there.bring(there.layout.frames("t1"))
    put_local(here, "frames/t1/b", b"new b")  # of the same size
    sent, came = requests_of(here), requests_of(there)
    here.keep(here.layout.frames("t1"))
    there.bring(there.layout.frames("t1"))
    assert sent.count("PutObject") == 1
    assert came.count("GetObject") == 1
    assert (there.layout.frames("t1") / "b").read_bytes() == b"new b"


def test_objects_of_other_origin_are_compared_by_their_md5(s3_place: Place) -> None:
    here = s3_place.on_s3()
    objects = here.objects
    objects.client.put_object(
        Bucket=objects.bucket, Key=objects.name("users/ann/a"), Body=b"content"
    )
    path = here.layout.user_file("ann", "a")
    made = requests_of(here)
    for _ in range(2):
        assert here.bring(path).read_bytes() == b"content"
    here.keep(path)
    assert (made.count("GetObject"), made.count("PutObject")) == (1, 0)
    put_local(here, "users/ann/a", b"CONTENT")
    here.keep(path)
    assert get(here, "users/ann/a") == b"CONTENT"


@pytest.mark.parametrize("size", [100, PART + 100])
def test_an_object_that_was_corrupted_is_not_taken(s3_place: Place, size: int) -> None:
    here, there = s3_place.on_s3(part_bytes=PART), s3_place.on_s3("there", part_bytes=PART)
    put_local(there, "videos/t1/a", b"old")
    put(here, "videos/t1/a", bytes(size))
    assert here.objects.content("videos/t1/a").algorithm == "sha256"
    here.objects.client.put_object(
        Bucket=here.objects.bucket,
        Key=here.objects.name("videos/t1/a"),
        Body=bytes(size - 1) + b"\1",
        Metadata={"sha256": hashlib.sha256(bytes(size)).hexdigest()},
    )
    with pytest.raises(Unavailable, match="videos/t1/a came with another checksum"):
        there.bring(there.layout.video("t1"))
    assert there.path_of("videos/t1/a").read_bytes() == b"old"
    assert leftovers(there) == []


class Enough(Exception):
    """Raised by a progress to stop."""


def stop(done: float, total: float, **_: object) -> None:
    raise Enough


def test_a_stopped_keep_leaves_the_old_object(s3_place: Place) -> None:
    here = s3_place.on_s3(part_bytes=PART)
    put(here, "videos/t1/a", b"old")
    put(here, "videos/t1/stale", b"old")
    put_local(here, "videos/t1/a", in_pieces(4))
    with pytest.raises(Enough):
        here.keep(here.layout.video("t1"), stop)
    assert get(here, "videos/t1/a") == b"old"
    assert get(here, "videos/t1/stale") == b"old"
    uploads = here.objects.client.list_multipart_uploads(Bucket=here.objects.bucket)
    assert uploads.get("Uploads", []) == []


def test_a_stopped_bring_leaves_the_old_file(s3_place: Place) -> None:
    here = s3_place.on_s3(part_bytes=PART)
    put(here, "videos/t1/a", in_pieces(4))
    put_local(here, "videos/t1/a", b"old")
    with pytest.raises(Enough):
        here.bring(here.layout.video("t1"), stop)
    assert here.path_of("videos/t1/a").read_bytes() == b"old"
    assert leftovers(here) == []


def test_a_file_that_changes_while_it_is_kept_is_sent_again(s3_place: Place) -> None:
    here = s3_place.on_s3()
    path = put_local(here, "train_log/t1/log", b"1")
    left = itertools.count(-1, -1)

    def append(event_name: str, **_: object) -> None:
        if event_name.endswith("PutObject") and next(left) >= -changes:
            with path.open("ab") as file:
                file.write(b"2")

    here.objects.client.meta.events.register("before-send.s3", append)
    changes = 1
    here.keep(path)
    assert get(here, "train_log/t1/log") == path.read_bytes() == b"12"
    there = s3_place.on_s3("there")
    there.bring(there.layout.train_log("t1"))
    changes = 100
    path.write_bytes(b"3")
    with pytest.raises(Unavailable, match="changes while it is sent"):
        here.keep(path)


def test_temporaries_stay_here(s3_place: Place) -> None:
    here = s3_place.on_s3()
    put_local(here, "frames/t1/a")
    put_local(here, "frames/t1/.b.1234.tmp")
    put_local(here, "frames/t1/.c.1234/d")
    here.keep(here.layout.frames("t1"))
    assert [one.key for one in here.objects.below("")] == ["frames/t1/a"]


def test_bringing_leaves_what_was_not_kept_unless_asked(s3_place: Place) -> None:
    here = s3_place.on_s3()
    put(here, "frames/t1/a")
    mine = put_local(here, "frames/t1/mine")
    beside = put_local(here, "frames/t2/other")
    here.bring(here.layout.frames("t1"))
    assert mine.exists()
    here.bring(here.layout.frames("t1"), exact=True)
    assert not mine.exists()
    assert beside.exists()


def test_deleting_reaches_the_working_copy(s3_place: Place) -> None:
    here = s3_place.on_s3()
    put(here, "frames/t1/a")
    path = here.bring(here.layout.frames("t1"))
    assert here.delete("frames/t1") == 1
    assert not path.exists()


def test_pages_are_asked_for_as_they_are_needed(s3_place: Place) -> None:
    here = s3_place.on_s3(page_keys=2)
    for number in range(7):
        put(here, f"f/{number}")
    objects = here.objects
    for hidden in ("f/.x", "f/0/.x/y", "f/folder/", "f/a//b"):
        objects.client.put_object(Bucket=objects.bucket, Key=f"some/prefix/{hidden}", Body=b"")
    made = requests_of(here)
    files = here.files("f")
    assert made == []
    assert [next(files).key for _ in range(3)] == ["f/0", "f/1", "f/2"]
    assert made == ["ListObjectsV2"] * 3
    assert [file.key for file in files] == ["f/3", "f/4", "f/5", "f/6"]
    assert len(made) == 6
    made.clear()
    assert keys(here, "f", after="f/2", limit=1) == ["f/3"]
    assert made == ["ListObjectsV2"]
    assert here.delete("f") == 11
    assert list(objects.below("")) == []


def test_prefixes_of_one_bucket_do_not_meet(s3_place: Place) -> None:
    root = s3_place.settings["root"]
    other = Place(s3_place.folder, {**s3_place.settings, "root": f"{root}-other/"}).open("other")
    whole = Place(s3_place.folder, {**s3_place.settings, "root": root[: root.index("/some")]})
    here = s3_place.open()
    put(here, "a", b"here")
    put(other, "a", b"other")
    assert keys(here, "") == keys(other, "") == ["a"]
    assert keys(whole.open("whole"), "") == ["some/prefix-other/a", "some/prefix/a"]
    assert here.delete("a") == 1
    assert get(other, "a") == b"other"


def test_a_link_downloads_under_the_files_name(s3_place: Place) -> None:
    here = s3_place.open()
    put(here, 'users/ann/Mäuse "1".csv', b"a,b")
    link = here.link('users/ann/Mäuse "1".csv', 60)
    assert link is not None
    answer = httpx.get(link)
    assert answer.status_code == 200
    assert answer.content == b"a,b"
    header = "attachment; filename*=UTF-8''M%C3%A4use%20%221%22.csv"
    assert answer.headers["content-disposition"] == header
    assert httpx.URL(link).params["X-Amz-Expires"] == "60"
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in httpx.URL(link).params.values()
    for seconds in (0, 8 * 24 * 3600):
        with pytest.raises(BadInput, match="seconds"):
            here.link("a", seconds)


def every_use(storage: Storage) -> list[Callable[[], object]]:
    """One of each, for a storage that cannot answer."""
    put_local(storage, "frames/t1/a")
    path = storage.layout.frames("t1")
    return [
        storage.check,
        lambda: storage.stat("a"),
        lambda: list(storage.files("a")),
        lambda: storage.read("a"),
        lambda: put(storage, "a"),
        lambda: storage.delete("a"),
        lambda: storage.keep(path),
        lambda: storage.keep(path / "a"),
        lambda: storage.bring(path),
    ]


def test_a_store_that_goes_away_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_s3(tmp_path) as server:
        root = f"s3://{server.new_bucket()}"
        place = Place(tmp_path, {"root": root, "s3_endpoint": server.endpoint})
        storage = place.on_s3(part_bytes=PART)
        put(storage, "videos/t1/a", in_pieces(3))
        path = put_local(storage, "videos/t1/a", b"old")
        reading = storage.read("videos/t1/a")
        assert next(reading)

        def kill(done: float, total: float, **_: object) -> None:
            if server.process.poll() is None:
                server.kill()

        with pytest.raises(Unavailable, match=r"bucket test-\w+ does not answer"):
            storage.bring(path, kill)
        assert path.read_bytes() == b"old"
        with pytest.raises(Unavailable):
            list(reading)
        for use in every_use(storage):
            with pytest.raises(Unavailable, match="ACTVERSE_S3_ENDPOINT"):
                use()
        made = requests_of(storage)
        with pytest.raises(Unavailable):
            storage.check()
        assert len(made) == 3
        assert leftovers(storage) == []


def test_a_silent_store_is_given_up(s3_place: Place) -> None:
    storage = s3_place.on_s3()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        storage.objects.client = s3_client(endpoint, "us-east-1", silence=0.1)
        with pytest.raises(Unavailable, match="ReadTimeoutError"):
            storage.check()


def test_a_missing_bucket_is_named(s3_place: Place) -> None:
    s3_place.settings["root"] = "s3://no-such-bucket/prefix"
    for use in every_use(s3_place.open()):
        with pytest.raises(Unavailable, match="bucket no-such-bucket does not exist"):
            use()


def test_missing_credentials_are_named(s3_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage = s3_place.open()
    for use in (storage.check, lambda: storage.link("a", 60)):
        with pytest.raises(Unavailable, match="AWS_ACCESS_KEY_ID"):
            use()


@pytest.mark.parametrize(
    ("status", "code", "error", "sentence"),
    [
        (403, "AccessDenied", Unavailable, "refuses these credentials .* grant them"),
        (403, "SignatureDoesNotMatch", Unavailable, "SignatureDoesNotMatch"),
        (400, "AuthorizationHeaderMalformed", Unavailable, "ACTVERSE_S3_REGION"),
        (503, "SlowDown", Unavailable, "SlowDown.* try again later"),
        (500, "InternalError", Unavailable, "InternalError"),
        (507, "XMinioStorageFull", StorageFull, "takes no more"),
    ],
)
def test_what_a_store_refuses_is_named(
    s3_place: Place, status: int, code: str, error: type[ActverseError], sentence: str
) -> None:
    """A server that gives S3's published error documents, which moto never does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            document = f"<Error><Code>{code}</Code><Message>hush</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        s3_place.settings["s3_endpoint"] = f"http://127.0.0.1:{server.server_port}"
        storage = s3_place.open()
        uses = [storage.check, lambda: storage.read("a"), lambda: put(storage, "a")]
        # The faults of a server are tried again, which takes its time.
        for use in uses[:1] if code in ("SlowDown", "InternalError") else uses:
            with pytest.raises(error, match=sentence) as caught:
                use()
            assert "hush" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"root": "s3://"}, "names no bucket"),
        ({"root": "s3:///prefix"}, "names no bucket"),
        ({"root": "s3://bucket/../other"}, "usable prefix"),
        ({"root": "s3://bucket/a//b"}, "usable prefix"),
        ({"root": "s3://bucket/a", "s3_endpoint": "store:9000"}, "ACTVERSE_S3_ENDPOINT"),
    ],
)
def test_settings_that_name_no_storage_are_refused(
    tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        open_storage(Settings(home=tmp_path, **settings))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="ACTVERSE_ROOT"):
        open_storage(Settings(home=tmp_path, root=str(tmp_path / "file" / "root")))


def test_a_folder_needs_no_boto3(tmp_path: Path) -> None:
    code = """
import sys
from components.settings import Settings
from components.storage import open_storage
open_storage(Settings()).check()
sys.exit("boto3" in sys.modules)
"""
    settings = Settings(home=tmp_path, root=str(tmp_path / "root"))
    subprocess.run(
        [sys.executable, "-c", code], env=settings.environment(secrets=False), check=True
    )
