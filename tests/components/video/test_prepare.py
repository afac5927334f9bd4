"""A video from its source to one that can be analysed, in the storage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import BadVideo, NotFound, Refused
from components.pipeline_step import PipelineStep, pipeline_step
from components.settings import Settings
from components.storage import open_storage
from components.video.prepare import prepare_video
from components.video.probe import probe_video
from components.video.source import is_url, shown_source
from tests.helpers.s3_server import S3Server
from tests.helpers.squares import write_squares
from tests.helpers.web import body, serving


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipelineStep]:
    """A step whose storage is a folder."""
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    with pipeline_step("fetch", "v") as step:
        yield step


def test_a_stored_video_is_taken_by_its_key(step: PipelineStep):
    write_squares(step.layout.root / "users/a/film.mp4", 6)
    facts = prepare_video(step, "v", "users/a/film.mp4")
    assert facts["reason"] == "not needed"
    assert facts["video"]["frame_count"] == 6
    assert probe_video(step.layout.video("v") / "video.mp4").frame_count == 6


@pytest.mark.parametrize("key", ["../film.mp4", "/etc/passwd", "users/../../film.mp4"])
def test_a_key_does_not_lead_out_of_the_storage(step: PipelineStep, key: str):
    write_squares(step.layout.root.parent / "film.mp4", 6)
    with pytest.raises(Refused):
        prepare_video(step, "v", key)


def test_a_link_in_the_storage_does_not_lead_out_of_it(step: PipelineStep):
    film = write_squares(step.layout.root.parent / "film.mp4", 6)
    (step.layout.root / "link.mp4").symlink_to(film)
    with pytest.raises(Refused):
        prepare_video(step, "v", "link.mp4")


def test_what_is_not_there_or_no_video_is_said(step: PipelineStep):
    with pytest.raises(NotFound, match=r"nothing\.mp4"):
        prepare_video(step, "v", "nothing.mp4")
    (step.layout.root / "text.mp4").write_text("no video")
    with pytest.raises(BadVideo):
        prepare_video(step, "v", "text.mp4")


def test_a_url_passes_the_outbound_guard(step: PipelineStep, tmp_path: Path):
    content = write_squares(tmp_path / "film.mp4", 6).read_bytes()
    with serving(body(content, Content_Type="video/mp4")) as server:
        url = f"http://127.0.0.1:{server.server_port}/film.mp4"
        with pytest.raises(Refused):
            prepare_video(step, "v", url)
        assert server.connections == 0
        open_to_all = PipelineStep(
            Settings(allow_private_urls=True), step.storage, lambda *_, **__: None
        )
        assert prepare_video(open_to_all, "v", url)["video"]["frame_count"] == 6


def test_on_s3_the_video_is_brought_and_the_prepared_one_kept(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACTVERSE_ROOT", f"s3://{s3.new_bucket()}/data")
    monkeypatch.setenv("ACTVERSE_S3_ENDPOINT", s3.endpoint)
    elsewhere = open_storage(Settings(home=tmp_path / "elsewhere"))
    elsewhere.keep(write_squares(elsewhere.layout.root / "users/a/film.mp4", 6))
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path / "pod"))
    with pipeline_step("fetch", "v") as step:
        prepare_video(step, "v", "users/a/film.mp4")
    assert elsewhere.stat("videos/v/video.mp4") is not None
    assert elsewhere.stat("train_log/v/steps/fetch.json") is not None


def test_a_source_is_shown_without_what_may_open_it():
    assert shown_source("https://host/film.mp4?signature=x#y") == "https://host/film.mp4"
    assert shown_source("users/a/what?.mp4") == "users/a/what?.mp4"
    assert is_url("s3://bucket/film.mp4")
    assert not is_url("users/a/film.mp4")
