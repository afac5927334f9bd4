"""Tolerations as one line of text each."""

import pytest

from components.errors import BadInput
from pipelines.tolerations import Toleration, parse_toleration


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("nvidia.com/gpu:NoSchedule", Toleration("nvidia.com/gpu", "Exists", "", "NoSchedule")),
        ("gpu=a100:NoExecute", Toleration("gpu", "Equal", "a100", "NoExecute")),
        ("gpu=:PreferNoSchedule", Toleration("gpu", "Equal", "", "PreferNoSchedule")),
    ],
)
def test_both_forms_are_read(text: str, meant: Toleration):
    assert parse_toleration(text) == meant


@pytest.mark.parametrize(
    "text",
    ["", "gpu", "gpu=a", ":NoSchedule", "gpu:Never", "gpu=a b:NoSchedule", "gpu:NoSchedule:1"],
)
def test_others_are_refused_with_the_form_that_is_wanted(text: str):
    with pytest.raises(BadInput, match="KEY=VALUE:EFFECT"):
        parse_toleration(text)
