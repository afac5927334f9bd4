import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import BadInput, NotFound
from components.frame_results import (
    FrameResult,
    ResultsMetadata,
    chunk_path,
    read_chunks,
    read_metadata,
    write_chunk,
    write_metadata,
)
from components.labels import LabelSpec
from components.results.results_json import results_schema, write_json

unit = st.floats(0, 1)
text = st.text(max_size=12)


@st.composite
def frame_results(draw: st.DrawFn, frame: int, points: int) -> FrameResult:
    n = draw(st.integers(0, 3))

    def many(strategy: st.SearchStrategy, size: int) -> st.SearchStrategy:
        return st.lists(strategy, min_size=size, max_size=size)

    shown = n if points else 0
    return FrameResult(
        frame=frame,
        timestamp=draw(st.floats(0, 1e6)),
        ids=draw(many(text, n)),
        boxes=draw(many(many(st.floats(0, 1e5), 4), n)),
        boxes_score=draw(many(unit, n)),
        classes=draw(many(text, n)),
        keypoints=draw(many(many(many(unit, 2), points), shown)),
        smoothed_keypoints=draw(many(many(many(unit, 2), points), shown)),
        keypoints_score=draw(many(many(unit, points), shown)),
    )


@st.composite
def analyses(draw: st.DrawFn) -> tuple[ResultsMetadata, list[list[FrameResult]]]:
    points = draw(st.integers(0, 2))
    names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3, unique=True)
    metadata = ResultsMetadata(
        task_id=draw(text),
        model_name=draw(text),
        model_version=draw(st.integers(1, 99)),
        labels=LabelSpec(
            task="pose" if points else "detect",
            names=tuple(draw(names)),
            keypoints=("nose", "tail")[:points],
        ),
        origin_width=draw(st.integers(1, 9000)),
        origin_height=draw(st.integers(1, 9000)),
        fps=draw(st.floats(0.1, 1000)),
        frame_count=draw(st.integers(1, 10**6)),
        confidence=draw(unit),
        iou=draw(unit),
        max_frames=draw(st.none() | st.integers(1, 100)),
    )
    sizes = draw(st.lists(st.integers(1, 3), max_size=3))
    chunks, frame = [], 0
    for size in sizes:
        chunks.append([draw(frame_results(frame + i, points)) for i in range(size)])
        frame += size
    return metadata, chunks


@settings(max_examples=60, deadline=None)
@given(analyses())
def test_whatever_an_analysis_holds_comes_back_from_results_json_and_meets_the_schema(
    tmp_path_factory: pytest.TempPathFactory,
    analysis: tuple[ResultsMetadata, list[list[FrameResult]]],
) -> None:
    metadata, chunks = analysis
    folder = tmp_path_factory.mktemp("analysis")
    write_metadata(folder, metadata)
    for number, frames in enumerate(chunks):
        write_chunk(folder, number, frames)

    content = json.loads(write_json(folder).read_text(encoding="utf-8"))

    jsonschema.validate(content, results_schema(), cls=jsonschema.Draft202012Validator)
    assert ResultsMetadata.model_validate(content["metadata"]) == metadata == read_metadata(folder)
    frames = [frame for chunk in chunks for frame in chunk]
    assert [FrameResult.model_validate(entry) for entry in content["results"]] == frames
    assert list(read_chunks(folder)) == chunks


def test_the_schema_is_one_and_refuses_what_it_should(analysed) -> None:
    schema = results_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(write_json(analysed.results).read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    for spoil in (
        lambda c: c["metadata"].pop("origin_width"),
        lambda c: c["results"][1].pop("timestamp"),
        lambda c: c["results"][1]["ids"].append(7),
        lambda c: c["results"][1]["boxes"].append([1, 2, 3]),
        lambda c: c["results"][1]["keypoints"][0][0].__setitem__(0, 1.5),
        lambda c: c["results"][1].__setitem__("surprise", 1),
    ):
        spoilt = json.loads(json.dumps(content))
        spoil(spoilt)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, schema)


def test_every_frame_has_an_entry_also_the_one_without_findings(analysed) -> None:
    entries = json.loads(write_json(analysed.results).read_text())["results"]
    assert [entry["frame"] for entry in entries] == list(range(25))
    assert entries[3]["boxes"] == entries[3]["ids"] == []
    assert entries[0]["ids"] == [""]


def test_without_an_analysis_there_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="run one first"):
        write_json(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_spoilt_chunk_is_named(analysed) -> None:
    path = chunk_path(analysed.results, 1)
    path.write_text('{"chunk": 1, "results": [\n{"frame": 10')
    with pytest.raises(BadInput, match=r"result_chunk_1\.json is not a chunk"):
        list(read_chunks(analysed.results))
