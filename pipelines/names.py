"""Settings that name things of a cluster: what it would refuse later, or wait for in vain.

Kubernetes' rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/. An image's:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
"""

import re

from components.errors import BadInput
from components.settings import Settings

LABEL_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
"""The part of a label's or taint's key behind a slash, and its value if it has one."""

_WORD = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = rf"(?=[a-z0-9.-]{{1,253}}(?:/|$)){_WORD}(?:\.{_WORD})*"
LABEL_KEY = rf"(?:{_SUBDOMAIN}/)?{LABEL_NAME}"
"""With or without a prefix."""

_OBJECT = re.compile(_SUBDOMAIN)
_RESOURCE = re.compile(rf"{_SUBDOMAIN}/{LABEL_NAME}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?:\d{1,5}"
_REPOSITORY = re.compile(rf"(?:{_HOST}|{_PART})(?:/{_PART})*")

_OBJECTS = ("pipeline_config_map", "pipeline_storage_secret", "pipeline_report_secret")


def check_names(settings: Settings) -> None:
    """Raise BadInput, naming the setting, for a name that no cluster takes."""
    if not _REPOSITORY.fullmatch(settings.image_repository):
        raise unusable(settings, "image_repository", "one like registry.example.org:5000/lab")
    for field in _OBJECTS:
        if not _OBJECT.fullmatch(getattr(settings, field)):
            raise unusable(settings, field, "a name of lower-case letters, digits, '-' and '.'")
    if not settings.training_gpus:
        return
    if not _RESOURCE.fullmatch(settings.gpu_type):
        raise unusable(settings, "gpu_type", "a resource like nvidia.com/gpu")
    for key, value in settings.gpu_node_selector.items():
        if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(rf"(?:{LABEL_NAME})?", value):
            raise unusable(settings, "gpu_node_selector", 'labels of nodes like {"pool": "gpus"}')


def unusable(settings: Settings, field: str, wanted: str) -> BadInput:
    """The error that a setting cannot be used, and what to give in its place."""
    return BadInput(f"ACTVERSE_{field.upper()} is {getattr(settings, field)!r}: give {wanted}.")
