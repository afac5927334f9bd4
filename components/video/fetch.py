"""Bringing a video into the storage, from a path or from an address."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from components.errors import BadInput, NotFound
from components.files import link_or_copy, whole_file
from components.outbound import UrlStream, open_url
from components.steps import Progress, no_progress

_PROGRESS_BYTES = 2**20
_NOT_VIDEO = re.compile(r"text/|application/(json|xml|xhtml|pdf)|image/(?!gif)")


def fetch_video(
    source: str | Path,
    folder: Path,
    *,
    max_bytes: int,
    timeout: float,
    allow_private: bool,
    progress: Progress = no_progress,
) -> Path:
    """Put a video into ``folder`` as ``source`` with its own suffix; it appears whole.

    A local file becomes a second name of the same bytes where the file system allows, a
    copy elsewhere. Whether a caller may name a local path is the caller's to decide.

    Args:
        source: a local path, or an http, https or s3 URL.
        folder: where it is to lie.
        max_bytes: the greatest size.
        timeout: seconds that a download may take.
        allow_private: lets URLs reach addresses that are not public.
        progress: told of bytes; the total is 0 where the server does not say it.

    Raises:
        NotFound: if there is no such file or page.
        BadInput: if it is too large, or a page or a folder instead of a video.
        Refused: if the outbound guard does not let the URL through.
        Unavailable: if the server does not answer, or not in time.
        StorageFull: when the disk is full.
    """
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        with open_url(
            source, max_bytes=max_bytes, timeout=timeout, allow_private=allow_private
        ) as stream:
            return _download(stream, source, folder, progress)
    return _take(Path(source).expanduser(), folder, max_bytes, progress)


def _take(source: Path, folder: Path, max_bytes: int, progress: Progress) -> Path:
    if not source.exists():
        raise NotFound(f"The video {source} does not exist: check its path.")
    if not source.is_file():
        raise BadInput(f"{source} is not a file: name a video file.")
    size = source.stat().st_size
    if size > max_bytes:
        raise BadInput(
            f"The video {source} has {size} bytes, but {max_bytes} are allowed: "
            "give a smaller one, or raise ACTVERSE_MAX_VIDEO_BYTES."
        )
    target = folder / f"source{source.suffix.lower()}"
    with whole_file(target) as beside:
        link_or_copy(source, beside)
    progress(size, size)
    return target


def _download(stream: UrlStream, source: str, folder: Path, progress: Progress) -> Path:
    kind = stream.headers.get("content-type", "")
    if _NOT_VIDEO.match(kind.lower()):
        raise BadInput(
            f"{stream.url} is no video but {kind.partition(';')[0]}: "
            "give the address of the video file itself."
        )
    target = folder / f"source{_suffix(source) or _suffix(stream.url)}"
    with whole_file(target) as beside, beside.open("wb") as file:
        done, told = 0, 0
        for chunk in stream.iter_bytes():
            file.write(chunk)
            done += len(chunk)
            if done - told >= _PROGRESS_BYTES:
                told = done
                progress(done, stream.length)
        if done == 0:
            raise BadInput(f"{stream.url} is empty: give the address of the video file itself.")
        progress(done, done)
    return target


def _suffix(url: str) -> str:
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""
