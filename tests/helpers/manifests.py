"""The manifests as kubectl renders them, and what NetworkPolicies among them let through."""

import functools
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("embedded-kind", "production")
_TOOLS = ROOT / ".venv-manifests" / "bin"

Document = dict[str, Any]


def tool(name: str) -> str:
    """A program's path; the test is skipped where it is not installed."""
    found = shutil.which(name, path=f"{_TOOLS}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: make manifest-tools installs it")
    return found


@functools.cache
def _rendered(overlay: str) -> str:
    argv = [tool("kubectl"), "kustomize", str(MANIFESTS / "overlays" / overlay)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def render(overlay: str) -> list[Document]:
    """The documents of an overlay."""
    return list(yaml.safe_load_all(_rendered(overlay)))


def version() -> str:
    """The project's version, which is its images' tag."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [one for one in documents if one["kind"] in kinds]


def named(documents: list[Document], kind: str, name: str) -> Document:
    """The one document of this kind and name; a generated name may end with its hash."""
    found = [
        one
        for one in of_kind(documents, kind)
        if re.fullmatch(f"{name}(-[a-z0-9]{{10}})?", one["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


@dataclass(frozen=True)
class Workload:
    """What makes pods."""

    name: str
    kind: str
    document: Document

    @property
    def pod(self) -> Document:
        return self.document["spec"]["template"]["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.document["spec"]["template"]["metadata"]["labels"]

    @property
    def container(self) -> Document:
        (container,) = self.pod["containers"]
        assert "initContainers" not in self.pod
        return container


def workloads(documents: list[Document]) -> dict[str, Workload]:
    """By name."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet")
    found = of_kind(documents, *kinds)
    return {
        one["metadata"]["name"]: Workload(one["metadata"]["name"], one["kind"], one)
        for one in found
    }


def environment(
    documents: list[Document], workload: Workload, secrets: dict[str, dict[str, str]]
) -> dict[str, str]:
    """A container's variables, as the kubelet puts them together.

    Args:
        secrets: the values of each Secret.
    """
    variables: dict[str, str] = {}
    for source in workload.container.get("envFrom", []):
        variables |= named(documents, "ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in workload.container.get("env", []):
        if "value" in entry:
            variables[entry["name"]] = entry["value"]
            continue
        reference = entry["valueFrom"]["secretKeyRef"]
        variables[entry["name"]] = secrets[reference["name"]][reference["key"]]
    return variables


def made_secrets(folder: Path) -> dict[str, dict[str, str]]:
    """The values that make-secrets.sh makes, by Secret and key."""
    subprocess.run(
        ["bash", str(MANIFESTS / "make-secrets.sh"), str(folder)], timeout=60, check=True
    )
    return {
        secret.name: {key.name: key.read_text() for key in sorted(secret.iterdir())}
        for secret in sorted(folder.iterdir())
        if secret.name != "compose"
    }


def secret_references(workload: Workload) -> Iterator[tuple[str, str]]:
    """Each Secret and key that a workload asks for."""
    for entry in workload.container.get("env", []):
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            yield reference["name"], reference["key"]
    for volume in workload.pod.get("volumes", []):
        for item in volume.get("secret", {}).get("items", []):
            yield volume["secret"]["secretName"], item["key"]
        assert "items" in volume.get("secret", {"items": []}), "a whole Secret is mounted"


@dataclass(frozen=True)
class Peer:
    """A pod as NetworkPolicies see it."""

    namespace: dict[str, str]
    labels: dict[str, str]


def lets_through(
    documents: list[Document], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the policies of our namespace let a connection between two pods through.

    By https://kubernetes.io/docs/concepts/services-networking/network-policies/: a pod that a
    policy of a direction selects may do what one of these policies allows, and nothing else.
    """
    return _allows(documents, "Egress", source, target, port, protocol) and _allows(
        documents, "Ingress", target, source, port, protocol
    )


def _allows(
    documents: list[Document],
    direction: str,
    about: Peer,
    other: Peer,
    port: int,
    protocol: str,
) -> bool:
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    selecting = [
        one["spec"]
        for one in of_kind(documents, "NetworkPolicy")
        if about.namespace["kubernetes.io/metadata.name"] == one["metadata"]["namespace"]
        and direction in one["spec"]["policyTypes"]
        and selects(one["spec"]["podSelector"], about.labels)
    ]
    if not selecting:
        return True
    return any(
        _matches(peer, about, other)
        and any(
            allowed["port"] == port and allowed["protocol"] == protocol for allowed in rule["ports"]
        )
        for policy in selecting
        for rule in policy.get(rules, [])
        for peer in rule[peers]
    )


def _matches(peer: Document, about: Peer, other: Peer) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], other.namespace):
            return False
    elif about.namespace != other.namespace:
        return False
    return selects(peer.get("podSelector", {}), other.labels)


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    assert set(selector) <= {"matchLabels"}, "teach this helper the other forms first"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
