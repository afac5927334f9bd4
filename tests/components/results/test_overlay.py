from itertools import pairwise

import numpy as np
import pytest

from components.errors import NotFound
from components.frame_results import clear_chunks, write_chunk, write_metadata
from components.results.drawing import FrameDrawer, identity_colour
from components.results.overlay import write_overlay
from components.video.probe import probe_video
from components.video.reader import read_frames


def test_a_browser_can_play_the_overlay(analysed) -> None:
    path = write_overlay(analysed.video, analysed.results)
    facts = probe_video(path)
    assert (facts.codec, facts.pixel_format, facts.container) == ("h264", "yuv420p", "mp4")
    assert (facts.frame_count, facts.width, facts.height) == (25, 160, 120)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must stand in front"


def test_the_overlay_shows_each_frame_its_own_findings(analysed) -> None:
    path = write_overlay(analysed.video, analysed.results)
    plain = list(read_frames(analysed.video))
    drawn = list(read_frames(path))
    assert len(drawn) == len(plain)
    colour = np.asarray(identity_colour("1", 0), float)
    for index in (1, 12, 24):
        x1, _, _, y2 = analysed.frames[index].boxes[0]
        # The lower edge, away from label and key points: chroma is coarse, so the mean.
        edge = drawn[index].bgr[int(y2) - 1 : int(y2) + 2, int(x1) + 6 : int(x1) + 24]
        before = plain[index].bgr[int(y2) - 1 : int(y2) + 2, int(x1) + 6 : int(x1) + 24]
        towards = np.abs(edge.mean((0, 1)) - colour).sum()
        assert towards < np.abs(before.mean((0, 1)) - colour).sum() - 60
    difference = np.abs(drawn[3].bgr.astype(int) - plain[3].bgr)
    assert difference.mean() < 4, "nothing was found in frame 3, so nothing is drawn"


def test_a_skipped_frame_shows_the_findings_before_it(analysed) -> None:
    metadata = analysed.metadata.model_copy(update={"frame_skip": 4, "max_frames": 3})
    clear_chunks(analysed.results)
    write_metadata(analysed.results, metadata)
    write_chunk(analysed.results, 0, [analysed.frames[i] for i in (0, 4, 8)])
    drawn = list(read_frames(write_overlay(analysed.video, analysed.results)))
    plain = list(read_frames(analysed.video))
    assert len(drawn) == 12, "it ends with the last analysed stretch"

    def column(index: int, of: int) -> float:
        """How much is drawn where the left edge of the first box of frame ``of`` would be."""
        x = int(analysed.frames[of].boxes[0][0])
        spot = np.s_[30:45, x - 1 : x + 2]
        return float(np.abs(drawn[index].bgr[spot].astype(int) - plain[index].bgr[spot]).mean())

    for index in (4, 5, 7):
        assert column(index, of=4) > 2 * column(index, of=8)
    assert column(8, of=8) > 2 * column(8, of=4)


def test_an_identity_keeps_its_colour_and_neighbours_differ() -> None:
    colours = [identity_colour(str(number), 0) for number in range(1, 9)]
    assert colours == [identity_colour(str(number), 1) for number in range(1, 9)]
    apart = [np.abs(np.subtract(a, b)).max() for a, b in pairwise(colours)]
    assert min(apart) > 80


@pytest.mark.parametrize("wh", [(64, 48), (160, 120), (640, 480), (1920, 1080)])
def test_drawing_stays_in_the_frame_and_scales_with_it(analysed, wh) -> None:
    scale = wh[0] / 160
    metadata = analysed.metadata.model_copy(update={"origin_width": wh[0], "origin_height": wh[1]})
    found = analysed.frames[10]
    boxes = [[value * scale for value in box] for box in found.boxes]
    boxes[0][1] = 0.0  # no room for the label above
    found = found.model_copy(update={"boxes": boxes, "classes": ["mäuse", "rat"]})
    frame = np.zeros((wh[1], wh[0], 3), np.uint8)
    FrameDrawer(metadata).draw(frame, found)
    ink = (frame.max(axis=2) > 60).mean()
    assert 0.01 < ink < 0.6


def test_a_cancelled_overlay_leaves_nothing_behind(analysed) -> None:
    class Cancelled(Exception):
        pass

    def progress(done: float, total: float, **facts: object) -> None:
        if done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_overlay(analysed.video, analysed.results, progress)
    assert [path.name for path in analysed.results.iterdir()] == ["chunks"]


def test_without_frames_there_is_no_overlay(analysed) -> None:
    clear_chunks(analysed.results)
    write_metadata(analysed.results, analysed.metadata)
    with pytest.raises(NotFound, match="no frames yet"):
        write_overlay(analysed.video, analysed.results)
    assert not (analysed.results / "overlaid_results.mp4").exists()
