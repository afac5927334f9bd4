"""results.json: the metadata and one entry a frame, put together from the chunks."""

import json
from pathlib import Path
from typing import Any

from components.files import whole_file
from components.frame_results import chunk_lines, chunk_paths, read_metadata

SCHEMA_PATH = Path(__file__).with_name("results.schema.json")


def write_json(results: Path) -> Path:
    """Write ``results.json`` in a task's results folder, whole; one entry a line.

    Returns:
        Its path.

    Raises:
        NotFound: if no analysis lies in ``results``.
        StorageFull: when the disk is full.
    """
    metadata = read_metadata(results)
    path = results / "results.json"
    with whole_file(path) as beside, beside.open("wb") as file:
        file.write(b'{"metadata": ' + metadata.model_dump_json().encode() + b',\n"results": [')
        separator = b"\n"
        for chunk in chunk_paths(results):
            for entry in chunk_lines(chunk):
                file.write(separator + entry)
                separator = b",\n"
        file.write(b"\n]}\n")
    return path


def results_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that ``results.json`` keeps to."""
    schema: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema
