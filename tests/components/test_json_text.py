"""JSON that others wrote: whatever is wrong with it is one kind of error, and nothing else."""

import json
from pathlib import Path

import pytest

from components.errors import ActverseError, BadLabels
from components.json_text import check_storable, read_json
from components.labeling.label_studio.label_config import names_of
from components.labeling.opened import opened_labels
from components.labeling.wanted import WantedLabels
from pipelines.arguments import read_argument
from pipelines.kfp_errors import server_words
from tests.corpus.requests import JSON_BODIES

WANTED = WantedLabels("detect", ("mouse",))


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_json_is_read_or_a_value_error(body: bytes):
    try:
        data = read_json(body)
        check_storable(data)
    except ValueError:
        return
    # It can be written again from wherever it was put.
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    json.dumps(data, ensure_ascii=False).encode()


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_whatever_reads_json_has_our_errors(tmp_path: Path, body: bytes):
    text = body.decode("utf-8", "replace")
    assert isinstance(server_words(body), str)
    with_errors(lambda: read_argument("training", "training", text))
    for name in ("labels.json", "data.yaml", "annotations.xml", "boxes.csv", "classes.txt"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(body)
        with_errors(lambda: list(opened(folder)))  # noqa: B023


@pytest.mark.parametrize(
    "config",
    ["<a>" * 100_000, '<?xml version="1.0" encoding="none"?><a/>', "\ud800", "<a>\0</a>", "", "<",
     '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', '<?xml version="1.0" encoding="utf-16"?><a/>'],
)  # fmt: skip
def test_a_labelling_configuration_is_read_or_refused(config: str):
    try:
        names_of(config)
    except BadLabels:
        return
    assert config.startswith("<?xml")


def opened(folder: Path) -> list[str]:
    with opened_labels(folder) as found:
        found.names()
        return list(found.read(WANTED, {}).frames)


def with_errors(act) -> None:
    try:
        act()
    except ActverseError as error:
        # It can be logged, stored and shown.
        str(error).encode()
