"""Fetching from a path and from a real loopback server: whole or not at all."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.errors import ActverseError, BadInput, NotFound, Refused, Unavailable
from components.video.fetch import fetch_video
from components.video.probe import probe_video
from tests.helpers.videos import MakeVideo

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, Answer]], str]]:
    """Gives a function that serves answers by path and returns the base URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, content = answers[self.path.partition("?")[0]]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(source: str | Path, folder: Path, **changed: Any) -> Path:
    settings = {"max_bytes": 10**7, "timeout": 20, "allow_private": True, **changed}
    return fetch_video(source, folder, **settings)


def test_local_file_becomes_a_second_name(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video("Film.MP4")
    for source in (video, str(video)):
        path = fetch(source, tmp_path / "videos")
        assert path == tmp_path / "videos" / "source.mp4"
        assert path.samefile(video)


def test_local_link_is_followed(make_video: MakeVideo, tmp_path: Path) -> None:
    video, link = make_video(), tmp_path / "link.mp4"
    link.symlink_to(video)
    path = fetch(link, tmp_path / "videos")
    assert not path.is_symlink()
    assert path.samefile(video)


def test_video_comes_whole_over_http(
    make_video: MakeVideo, tmp_path: Path, serve: Callable[[dict[str, Answer]], str]
) -> None:
    content = make_video(frames=150, wh=(240, 160), noise=True).read_bytes()
    assert len(content) > 2 * 2**20
    told = []
    base = serve({"/a/Film.MP4": (200, {"Content-Type": "video/mp4"}, content)})
    path = fetch(
        f"{base}/a/Film.MP4?signature=x",
        tmp_path / "videos",
        progress=lambda done, total: told.append((done, total)),
    )
    assert path == tmp_path / "videos" / "source.mp4"
    assert path.read_bytes() == content
    assert probe_video(path).frame_count == 150
    assert told[-1] == (len(content), len(content))
    assert 3 <= len(told) < 10
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ((404, {}, b""), NotFound, "is not there"),
        ((403, {}, b""), Refused, "needs no sign-in"),
        ((503, {}, b""), Unavailable, "try again later"),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"), BadInput, "text/html"),
        ((200, {"Content-Type": "application/json"}, b"{}"), BadInput, "application/json"),
        ((200, {}, b""), BadInput, "is empty"),
        ((200, {}, bytes(1001)), BadInput, "larger than the 1000 bytes"),
        ((200, {"Content-Length": "999"}, b"cut off"), Unavailable, "cannot be fetched"),
        ((302, {"Location": "file:///etc/passwd"}, b""), Refused, "scheme 'file'"),
    ],
)
def test_what_is_no_video_leaves_nothing(
    tmp_path: Path,
    serve: Callable[[dict[str, Answer]], str],
    answer: Answer,
    error: type[ActverseError],
    sentence: str,
) -> None:
    base = serve({"/film.mp4": answer})
    with pytest.raises(error, match=sentence) as caught:
        fetch(f"{base}/film.mp4?token=hush", tmp_path / "videos", max_bytes=1000)
    assert "hush" not in str(caught.value)
    folder = tmp_path / "videos"
    assert not folder.exists() or list(folder.iterdir()) == []


def test_private_address_is_refused_unless_allowed(
    tmp_path: Path, serve: Callable[[dict[str, Answer]], str]
) -> None:
    base = serve({"/film.mp4": (200, {}, b"film")})
    with pytest.raises(Refused):
        fetch(f"{base}/film.mp4", tmp_path, allow_private=False)
    with pytest.raises(Refused, match="not public"):
        fetch("http://127.0.0.1/film.mp4", tmp_path, allow_private=False)


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://host/f", "sftp://host/f"])
def test_other_schemes_are_not_taken_for_paths(tmp_path: Path, source: str) -> None:
    with pytest.raises(Refused, match="scheme"):
        fetch(source, tmp_path)


def test_local_file_that_cannot_be_taken(make_video: MakeVideo, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        fetch(tmp_path / "none.mp4", tmp_path / "videos")
    with pytest.raises(BadInput, match="not a file"):
        fetch(tmp_path, tmp_path / "videos")
    with pytest.raises(BadInput, match="100 are allowed"):
        fetch(make_video(), tmp_path / "videos", max_bytes=100)
    assert not (tmp_path / "videos").exists()
