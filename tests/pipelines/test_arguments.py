"""A pipeline's parameters, before anything is submitted."""

from typing import Any

import pytest

from components.errors import BadInput
from components.settings import Settings
from pipelines.analysis import analysis_pipeline
from pipelines.arguments import check_arguments
from pipelines.training import training_pipeline

TRAINING = {
    "task_id": "task-1",
    "model_name": "mice",
    "labels": '{"names": ["mouse"]}',
    "training": "{}",
}
ANALYSIS = {
    "run_id": "run-1",
    "model_name": "mice",
    "videos": [
        {"id": "a", "source": "https://host/a.mp4"},
        {"id": "b", "source": "users/me/b.mp4"},
    ],
}


@pytest.mark.parametrize(
    ("name", "arguments", "pipeline"),
    [
        ("training", TRAINING, training_pipeline),
        ("analysis", ANALYSIS, analysis_pipeline),
    ],
)
def test_it_knows_each_parameter_of_the_pipeline(name: Any, arguments: Any, pipeline: Any):
    check_arguments(name, arguments)
    inputs = pipeline(Settings()).component_spec.inputs
    assert {key for key, value in inputs.items() if not value.optional} == arguments.keys()
    defaults = {key: value.default for key, value in inputs.items() if value.optional}
    check_arguments(name, arguments | defaults)
    for parameter in arguments:
        with pytest.raises(BadInput, match=f"{parameter} is missing"):
            check_arguments(name, {k: v for k, v in arguments.items() if k != parameter})
    with pytest.raises(BadInput, match="epochs is unknown"):
        check_arguments(name, arguments | {"epochs": 3})


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("task_id", "../task", "task_id"),
        ("task_id", 3, "task_id"),
        ("model_name", "", "model_name"),
        ("labels", "{", "labels"),
        ("labels", '{"names": []}', r"labels\.names"),
        ("training", '{"epochs": 0}', r"training\.epochs \(0\)"),
        ("training", '{"optimiser": "Adam"}', "optimiser is unknown"),
        ("held_out", 0.0, r"held_out \(0\.0\)"),
        ("held_out", 1.5, r"held_out \(1\.5\)"),
        ("held_out", "0.2", "held_out"),
        ("labels_digest", "x" * 200, "labels_digest"),
    ],
)
def test_what_is_wrong_with_a_training_is_named(parameter: str, value: Any, said: str):
    with pytest.raises(BadInput, match=rf"pipeline training.*{said}"):
        check_arguments("training", TRAINING | {parameter: value})


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("videos", [], "videos"),
        ("videos", [{"id": "a"}], r"videos\.0\.source is missing"),
        ("videos", [{"id": "a", "source": "../x"}], r"videos\.0\.source"),
        ("videos", [{"id": "a/b", "source": "x"}], r"videos\.0\.id"),
        ("videos", [{"id": "a", "source": "x"}] * 2, "id a is given twice"),
        ("videos", [{"id": "a", "source": "x", "path": "/etc"}], "path is unknown"),
        ("confidence", 1.1, r"confidence \(1\.1\)"),
        ("iou", -0.1, "iou"),
        ("batch_size", 0, "batch_size"),
        ("batch_size", 2.5, "batch_size"),
        ("frame_skip", 0, "frame_skip"),
        ("max_frames", -1, "max_frames"),
        ("model_version", -1, "model_version"),
    ],
)
def test_what_is_wrong_with_an_analysis_is_named(parameter: str, value: Any, said: str):
    with pytest.raises(BadInput, match=rf"pipeline analysis.*{said}"):
        check_arguments("analysis", ANALYSIS | {parameter: value})


def test_another_pipeline_is_not_known():
    with pytest.raises(BadInput, match="no pipeline 'labelling'"):
        check_arguments("labelling", {})  # type: ignore[arg-type]
