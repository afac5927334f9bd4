"""The tasks of a compiled pipeline, as its YAML names them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SpecTask:
    """A task that runs a container.

    Attributes:
        name: its key in the YAML.
        cached: whether what it made before may be taken instead of running it.
    """

    name: str
    display_name: str
    cached: bool


def read_spec(path: Path) -> dict[str, Any]:
    """The pipeline spec of a compiled YAML, without its part for the platform."""
    import yaml

    return next(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def spec_tasks(spec: dict[str, Any]) -> dict[str, SpecTask]:
    """The tasks that run containers, those of loops and exit handlers too, by their names.

    Args:
        spec: a pipeline spec (``pipeline_spec.proto`` as JSON), also one in which a run has it
            beside its platform's.
    """
    spec = spec.get("pipeline_spec", spec)
    found: dict[str, SpecTask] = {}
    _collect(spec.get("root", {}), spec.get("components", {}), found)
    return found


def pipeline_name(spec: dict[str, Any]) -> str:
    """Which of our pipelines a spec is: ``training``, ``analysis``; else its own name."""
    spec = spec.get("pipeline_spec", spec)
    return spec.get("pipelineInfo", {}).get("name", "").removeprefix("actverse-")


def _collect(
    component: dict[str, Any], components: dict[str, Any], found: dict[str, SpecTask]
) -> None:
    for name, task in component.get("dag", {}).get("tasks", {}).items():
        inner = components.get(task["componentRef"]["name"], {})
        if "dag" in inner:
            _collect(inner, components, found)
        else:
            display = task.get("taskInfo", {}).get("name", name)
            cached = bool(task.get("cachingOptions", {}).get("enableCache"))
            found[name] = SpecTask(name, display, cached)
