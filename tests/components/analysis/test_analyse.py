import json
import re

import jsonschema
import numpy as np
import pytest

from components.analysis.analyse import analyse
from components.analysis.options import AnalysisOptions
from components.errors import BadVideo, StepFailed
from components.frame_results import chunk_path, chunk_paths, read_chunks, read_metadata
from components.results.results_json import results_schema, write_json
from components.video.probe import probe_video
from tests.helpers.squares import ColourModel, squares_at

NAMES = {"task_id": "task-1", "model_name": "colours", "model_version": 1}
SMALL = AnalysisOptions(batch_size=4, chunk_frames=16)


def entries(results):
    return [entry for chunk in read_chunks(results) for entry in chunk]


def chunk_bytes(results):
    return [path.read_bytes() for path in chunk_paths(results)]


def test_every_decoded_frame_has_its_entry_with_what_is_in_it(squares_video, model, tmp_path):
    facts = analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)

    found = entries(tmp_path)
    assert [entry.frame for entry in found] == list(range(70))
    assert [entry.timestamp for entry in found] == pytest.approx(np.arange(70) / 25)
    for entry in found:
        there = squares_at(entry.frame)
        assert sorted(entry.classes) == sorted(colour for colour, _, _ in there)
        for colour, x, y in there:
            places = [
                abs(np.subtract(box, (x, y, x + 18, y + 18))).max()
                for box, name in zip(entry.boxes, entry.classes, strict=True)
                if name == colour
            ]
            assert min(places) <= 1.5
    assert (facts.frames, facts.chunks, facts.resumed_at) == (70, 5, 0)
    assert facts.detections == sum(len(squares_at(index)) for index in range(70))
    assert model.batch_sizes.count(4) == 17
    assert sorted(model.batch_sizes)[0] == 2


def test_identities_stay_also_through_an_absence(squares_video, model, tmp_path):
    facts = analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    paths = {}
    for entry in entries(tmp_path)[1:]:
        assert len(set(entry.ids)) == len(entry.ids)
        for identity, name, box in zip(entry.ids, entry.classes, entry.boxes, strict=True):
            place = name if name == "green" else f"{name} {'upper' if box[1] < 48 else 'lower'}"
            paths.setdefault(place, set()).add(identity)
    assert {place: len(ids) for place, ids in paths.items()} == {
        "red upper": 1,
        "red lower": 1,
        "green": 1,
    }
    assert facts.identities == 3


def test_the_outcome_meets_the_schema(squares_video, model, tmp_path):
    analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    content = json.loads(write_json(tmp_path).read_text())
    jsonschema.validate(content, results_schema())
    entry = content["results"][10]
    (x1, y1, _, _), (head, _) = entry["boxes"][0], entry["keypoints"][0]
    assert head == pytest.approx([x1 / 128, y1 / 96], abs=1e-4)
    assert content["metadata"]["frame_count"] == 70


def test_findings_are_in_source_pixels_whatever_the_model_s_input(tmp_path, make_squares, model):
    video = make_squares(8, wh=(512, 384))
    analyse(video, tmp_path, model, **NAMES)
    (_, x, y) = squares_at(5)[0]
    expected = np.asarray([x, y, x + 18, y + 18]) * 4
    assert entries(tmp_path)[5].boxes[0] == pytest.approx(expected.tolist(), abs=5)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [17, 33, 50, 69])
def test_an_interrupted_analysis_goes_on_to_the_same_result(squares_video, model, tmp_path, after):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    analyse(squares_video, whole, model, options=SMALL, **NAMES)

    def stop(done, total, **facts):
        assert total == 70
        if done >= after:
            raise Stopped

    with pytest.raises(Stopped):
        analyse(squares_video, parts, model, options=SMALL, progress=stop, **NAMES)
    kept = list(chunk_paths(parts))
    written = [path.stat().st_mtime_ns for path in kept]
    assert 0 < len(kept) < 5
    facts = analyse(squares_video, parts, model, options=SMALL, **NAMES)

    assert facts.resumed_at == 16 * len(kept)
    assert [path.stat().st_mtime_ns for path in kept] == written
    assert chunk_bytes(parts) == chunk_bytes(whole)


def test_a_finished_analysis_asks_the_model_nothing_more(squares_video, model, tmp_path):
    first = analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    model.batch_sizes.clear()
    again = analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    assert model.batch_sizes == []
    assert (again.frames, again.detections, again.identities) == (
        first.frames,
        first.detections,
        first.identities,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model_version": 2},
        {"options": SMALL.model_copy(update={"confidence": 0.3})},
        {"video": "other"},
    ],
    ids=["model version", "options", "video"],
)
def test_another_analysis_starts_over(squares_video, make_squares, model, tmp_path, change):
    analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    model.batch_sizes.clear()
    changed = {"video": squares_video, "options": SMALL, **NAMES, **change}
    if changed["video"] == "other":
        changed["video"] = make_squares(20)
    video = changed.pop("video")
    facts = analyse(video, tmp_path, model, **changed)
    assert facts.resumed_at == 0
    assert sum(model.batch_sizes) == facts.frames
    assert len(entries(tmp_path)) == facts.frames
    assert read_metadata(tmp_path) == facts.metadata


def test_a_spoilt_chunk_is_made_again_and_those_behind_it(squares_video, model, tmp_path):
    analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    before = chunk_bytes(tmp_path)
    chunk_path(tmp_path, 2).write_text("{")
    facts = analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    assert facts.resumed_at == 32
    assert chunk_bytes(tmp_path) == before


def test_frames_may_be_skipped_and_limited(squares_video, model, tmp_path):
    options = AnalysisOptions(frame_skip=3, max_frames=10, chunk_frames=4)
    facts = analyse(squares_video, tmp_path, model, options=options, **NAMES)
    assert [entry.frame for entry in entries(tmp_path)] == list(range(0, 30, 3))
    assert sum(model.batch_sizes) == facts.frames == 10
    assert entries(tmp_path)[1].timestamp == pytest.approx(3 / 25)

    limited = AnalysisOptions(max_frames=7)
    analyse(squares_video, tmp_path, model, options=limited, **NAMES)
    assert [entry.frame for entry in entries(tmp_path)] == list(range(7))


def test_without_tracking_there_are_no_identities(squares_video, model, tmp_path):
    options = AnalysisOptions(tracking=False)
    analyse(squares_video, tmp_path, model, options=options, **NAMES)
    assert {identity for entry in entries(tmp_path) for identity in entry.ids} == {""}
    assert entries(tmp_path)[9].smoothed_keypoints == entries(tmp_path)[9].keypoints


def test_a_detection_model_gives_no_key_points(squares_video, tmp_path):
    analyse(squares_video, tmp_path, ColourModel("detect"), **NAMES)
    entry = entries(tmp_path)[5]
    assert len(entry.boxes) == 3
    assert entry.keypoints == entry.smoothed_keypoints == entry.keypoints_score == []


def test_an_error_of_the_model_ends_it_and_keeps_the_chunks(squares_video, model, tmp_path):
    def fail(requests):
        if requests == 9:
            raise StepFailed("the model's server fell over")

    model.before_infer = fail
    with pytest.raises(StepFailed, match="fell over"):
        analyse(squares_video, tmp_path, model, options=SMALL, **NAMES)
    assert [entry.frame for entry in entries(tmp_path)] == list(range(32))
    model.before_infer = lambda requests: None
    assert analyse(squares_video, tmp_path, model, options=SMALL, **NAMES).resumed_at == 32


def test_a_video_that_breaks_on_the_way_is_named(broken_video, model, tmp_path):
    broken, facts = broken_video
    with pytest.raises(BadVideo, match=re.escape(str(broken))):
        analyse(broken, tmp_path, model, facts=facts, options=SMALL, **NAMES)


def test_facts_of_another_video_are_noticed(squares_video, model, tmp_path):
    for wrong in (60, 80):
        facts = probe_video(squares_video).model_copy(update={"frame_count": wrong})
        with pytest.raises(BadVideo, match="gave 70 frames"):
            analyse(squares_video, tmp_path, model, facts=facts, **NAMES)


def test_a_missing_video_is_named(model, tmp_path):
    with pytest.raises(BadVideo, match=r"gone\.mp4"):
        analyse(tmp_path / "gone.mp4", tmp_path / "results", model, **NAMES)
    assert not (tmp_path / "results").exists()
