"""A model's classes in a task's words."""

import numpy as np
import pytest

from components.analysis.label_map import LabelMap
from components.detections import Detections
from components.labels import LabelSpec

POSE = LabelSpec(task="pose", names=("mouse", "dog"), keypoints=("nose", "tail"))


def found(*class_ids: int, points: int = 0) -> Detections:
    n = len(class_ids)
    return Detections(
        xyxy=np.arange(4 * n, dtype=np.float32).reshape(n, 4),
        scores=np.linspace(0.9, 0.5, n, dtype=np.float32),
        class_ids=np.asarray(class_ids, np.int64),
        keypoints=np.arange(3 * n * points, dtype=np.float32).reshape(n, points, 3),
    )


def test_classes_go_by_their_exact_names_and_the_others_are_counted():
    label_map = LabelMap.of(POSE, "detect", ["cat", "Dog", "mouse"])
    findings = found(0, 1, 0, 1, 1)
    mapped = label_map.apply(findings)
    assert mapped.class_ids.tolist() == [2, 2]
    assert mapped.scores.tolist() == findings.scores[[0, 2]].tolist()
    assert mapped.xyxy.tolist() == findings.xyxy[[0, 2]].tolist()
    assert label_map.left_out(findings) == {1: 3}
    assert label_map.mapped == {}


def test_a_task_that_names_nothing_takes_the_models_words():
    label_map = LabelMap.of(POSE, "pose")
    findings = found(1, 0, points=2)
    assert label_map.names == POSE.names
    assert label_map.apply(findings).to_json() == findings.to_json()


@pytest.mark.parametrize(
    ("model", "task", "mapped"),
    [
        (["animal"], ["mouse"], {"animal": "mouse"}),
        (["mouse"], ["mouse"], {}),
        (["animal"], ["mouse", "rat"], None),
        (["animal", "plant"], ["mouse"], None),
    ],
)
def test_an_only_class_is_the_tasks_only_one(model, task, mapped):
    label_map = LabelMap.of(LabelSpec(names=tuple(model)), "detect", task)
    assert label_map.mapped == (mapped or {})
    assert len(label_map.apply(found(0))) == (mapped is not None)


def test_key_points_go_by_name_and_absent_ones_have_no_score():
    label_map = LabelMap.of(POSE, "pose", POSE.names, ["tail", "ear"])
    (points,) = label_map.apply(found(0, points=2)).keypoints.tolist()
    assert points == [[3, 4, 5], [0, 0, 0]]


def test_frames_without_findings_map_to_nothing():
    mapped = LabelMap.of(POSE, "pose", ["mouse"], ["nose"]).apply(found(points=2))
    assert mapped.keypoints.shape == (0, 1, 3)
    assert mapped.class_ids.dtype == np.int64
