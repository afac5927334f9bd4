"""What must not stand in a compiled pipeline: what KFP's local runner gets wrong without a word,
what it refuses, and what no pipeline should hold.

The first are measured with kfp 2.17: the run says SUCCESS, and a task had other values or was
left out. So a pipeline without them does the same on one machine and on a cluster.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]

_SECRET_NAME = re.compile(r"secret|token|password|passwd|credential|access_key|api_key", re.I)
_CREDENTIALS = re.compile(r"://[^/\s:@\"']+:[^/\s@\"']+@")
_TIMES = ("pipeline_job_create_time_utc", "pipeline_job_schedule_time_utc")


def read_documents(path: Path) -> list[Spec]:
    """The documents of a compiled YAML: the pipeline spec, then the platform's if there is one."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def faults_of(documents: list[Spec]) -> list[str]:
    """One sentence for each thing that must not be there."""
    spec = documents[0]
    return [
        *_parameter_faults(spec),
        *(fault for name, dag in _dags(spec) for fault in _dag_faults(name, dag)),
        *(
            fault
            for name, executor in spec["deploymentSpec"]["executors"].items()
            for fault in _executor_faults(name, executor)
        ),
        *_text_faults(json.dumps(documents)),
    ]


def _dags(spec: Spec) -> Iterator[tuple[str, Spec]]:
    for name, component in {"root": spec["root"], **spec.get("components", {})}.items():
        if "dag" in component:
            yield name, component["dag"]


def _parameter_faults(spec: Spec) -> Iterator[str]:
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, parameter in parameters.items():
        if parameter.get("isOptional") and "defaultValue" not in parameter:
            yield f"the parameter {name} may be left out but has no default"


def _dag_faults(place: str, dag: Spec) -> Iterator[str]:
    for name, task in dag["tasks"].items():
        upstream = {
            key: value["taskOutputParameter"]["outputParameterKey"]
            for key, value in task.get("inputs", {}).get("parameters", {}).items()
            if "taskOutputParameter" in value
        }
        if "parameterIterator" in task or "artifactIterator" in task:
            yield from _loop_faults(f"{place}.{name}", task, upstream)
        if condition := task.get("triggerPolicy", {}).get("condition"):
            if any(output != "Output" for output in upstream.values()):
                yield f"{place}.{name} depends on a named output and has no Else"
            # References and whole texts away, no quote is left.
            rest = re.sub(r"parameter_values\['[^']*'\]|(?<!\w)'[^']*'(?!\w)", "", condition)
            if "'" in rest or '"' in condition:
                yield f"{place}.{name} compares with a text that holds a quote"
        for key, value in task.get("inputs", {}).get("parameters", {}).items():
            constant = value.get("runtimeValue", {}).get("constant")
            if isinstance(constant, str) and constant and _SECRET_NAME.search(key):
                yield f"{place}.{name} has a secret as the literal {key}"
    for name, output in dag.get("outputs", {}).get("artifacts", {}).items():
        if len(output.get("artifactSelectors", [])) > 1:
            yield f"{place} gives the artifact {name} from one of many"


def _loop_faults(place: str, task: Spec, upstream: dict[str, str]) -> Iterator[str]:
    items = task.get("parameterIterator", {}).get("items", {}).get("inputParameter")
    for key, output in upstream.items():
        if key != items:
            yield f"{place} is given {key}, a parameter of a task outside of the loop"
        elif output != "Output":
            yield f"{place} goes over a named output"


def _executor_faults(name: str, executor: Spec) -> Iterator[str]:
    if "container" not in executor:
        yield f"{name} is an importer, or nothing that runs a container"
        return
    container = executor["container"]
    image = container["image"]
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        yield f"{name} has an image without a version: {image}"
    command = " ".join([*container.get("command", []), *container.get("args", [])])
    if "--executor_input" not in command:
        yield f"{name} is a container component"
    if re.search(r"pip3? install|-m['\", ]+pip", command):
        yield f"{name} installs at run time"
    for variable in container.get("env", []):
        if _SECRET_NAME.search(variable["name"]) and variable.get("value"):
            yield f"{name} has a secret as the literal {variable['name']}"


def _text_faults(text: str) -> Iterator[str]:
    for time in _TIMES:
        if time in text:
            yield f"the placeholder {time} is used"
    if _CREDENTIALS.search(text):
        yield "a URL holds a password"
