"""Kubeflow Pipelines' API as kfp_server_api has it, which is generated from its swagger.

Paths, query parameters and answers' models are read from the generated client itself, and what
goes over the wire is checked against its models: nothing here is written by hand.
"""

import inspect
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import kfp_server_api
from kfp_server_api import models

_CALL = re.compile(r"call_api\(\s*'(?P<path>[^']+)', '(?P<method>[A-Z]+)'")
_QUERY = re.compile(r"query_params\.append\(\('(\w+)'")
_ANSWER = re.compile(r"response_type='([^']+)'")
_BODY = re.compile(r"body_params = local_var_params\['(\w+)'\]")
_PARAMETER_TYPE = r":type {}: (\S+)"
_SIMPLE: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "object": (object,),
}


class Breach(Exception):
    """Something on the wire that the published contract does not have."""


@dataclass(frozen=True)
class Operation:
    """One call of the API; ``body`` and ``answer`` are types as the generated models name them."""

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    body: str
    answer: str


def operations() -> list[Operation]:
    """All calls of the services that the tests' server answers."""
    services = ("RunServiceApi", "ExperimentServiceApi", "HealthzServiceApi")
    found = []
    for service in services:
        members = inspect.getmembers(getattr(kfp_server_api, service), inspect.isfunction)
        for name, function in members:
            if not name.endswith("_with_http_info"):
                continue
            source = inspect.getsource(function)
            call, body = _CALL.search(source), _BODY.search(source)
            assert call is not None, f"{name} calls no path"
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(call["path"]))
            kind = re.search(_PARAMETER_TYPE.format(body[1]), source) if body else None
            answer = _ANSWER.search(source)
            found.append(
                Operation(
                    name.removesuffix("_with_http_info"),
                    call["method"],
                    re.compile(f"{pattern}$"),
                    frozenset(_QUERY.findall(source)),
                    kind[1] if kind else "",
                    answer[1] if answer else "object",
                )
            )
    return found


def check(data: Any, kind: str, place: str = "") -> None:
    """Check JSON against one of the generated models.

    Raises:
        Breach: at a field, a type or an enum's value that the model does not know.
    """
    place = place or kind
    if kind.startswith("list["):
        _of_type(data, (list,), place)
        for index, item in enumerate(data):
            check(item, kind[5:-1], f"{place}[{index}]")
    elif kind.startswith("dict("):
        _of_type(data, (dict,), place)
        inner = kind[5:-1].partition(", ")[2]
        for key, item in data.items():
            check(item, inner, f"{place}.{key}")
    elif kind == "datetime":
        _of_type(data, (str,), place)
        try:
            datetime.fromisoformat(data)
        except ValueError as error:
            raise Breach(f"{place} is no time: {data!r}") from error
    elif kind in _SIMPLE:
        _of_type(data, _SIMPLE[kind], place)
    else:
        _model(data, getattr(models, kind), place)


def _model(data: Any, model: Any, place: str) -> None:
    if not model.openapi_types:
        if data not in model.allowable_values:
            raise Breach(f"{place} is {data!r}, which is none of {model.allowable_values}")
        return
    _of_type(data, (dict,), place)
    names = {wire: name for name, wire in model.attribute_map.items()}
    for key, value in data.items():
        if key not in names:
            raise Breach(f"{place} has no field {key!r}")
        check(value, model.openapi_types[names[key]], f"{place}.{key}")


def _of_type(data: Any, types: tuple[type, ...], place: str) -> None:
    if not isinstance(data, types) or (isinstance(data, bool) and types == (int,)):
        raise Breach(f"{place} is {data!r}, which is no {types[0].__name__}")
