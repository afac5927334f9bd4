"""The tasks of a compiled pipeline, as its YAML names them."""

from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
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


def read_tasks(path: Path) -> dict[str, SpecTask]:
    """The tasks of a compiled YAML that stays as it is; none while it is not there."""
    try:
        return _read_tasks(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=64)
def _read_tasks(path: Path, _written: int) -> dict[str, SpecTask]:
    import yaml

    return spec_tasks(next(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def spec_tasks(spec: dict[str, Any]) -> dict[str, SpecTask]:
    """The tasks that run containers, those of loops and exit handlers too, by their names.

    They are in an order in which they may run.

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
    tasks = component.get("dag", {}).get("tasks", {})
    after = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
    for name in TopologicalSorter(after).static_order():
        task = tasks[name]
        inner = components.get(task["componentRef"]["name"], {})
        if "dag" in inner:
            _collect(inner, components, found)
        else:
            display = task.get("taskInfo", {}).get("name", name)
            cached = bool(task.get("cachingOptions", {}).get("enableCache"))
            found[name] = SpecTask(name, display, cached)
