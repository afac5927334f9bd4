"""The NetworkPolicies let the design's arrows through, and nothing else."""

import pytest

from pipelines.task_policy import LABELS
from tests.helpers.manifests import (
    OVERLAYS,
    Document,
    Peer,
    lets_through,
    of_kind,
    render,
    selects,
    workloads,
)

_OURS = {"kubernetes.io/metadata.name": "actverse"}
_STORES = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379, "s3": 8333}
_PORTS = {"gateway": 8000, "mlflow": 5000, "triton": 8001, "label-studio": 8080, **_STORES}

# Who needs whom: the design's arrows.
_ARROWS = {
    "gateway": {"postgres", "rabbitmq", "redis", "s3", "mlflow", "triton"},
    "worker-video": {"postgres", "rabbitmq", "redis", "s3", "triton"},
    "worker-labeling": {"postgres", "rabbitmq", "redis", "s3", "label-studio"},
    "worker-inference": {"postgres", "rabbitmq", "redis", "s3", "mlflow", "triton"},
    "worker-import": {"postgres", "rabbitmq", "redis", "s3", "mlflow"},
    "worker-notification": {"postgres", "rabbitmq", "redis"},
    "beat": {"postgres", "rabbitmq", "redis"},
    "watcher": {"postgres", "rabbitmq", "redis", "s3", "mlflow", "triton"},
    "actverse-prepare": {"postgres", "mlflow"},
    "mlflow": {"postgres", "s3", "gateway"},
    "triton": {"s3"},
    "label-studio": {"postgres", "s3", "gateway"},
    "s3-bucket": {"s3"},
    "postgres": set(),
    "rabbitmq": set(),
    "redis": set(),
    "s3": set(),
}
_OUTSIDE = {
    "web": {"worker-video", "worker-notification"},
    "mail": {"worker-notification"},
    "pipelines": {"gateway", "watcher"},
}


def arrows(documents: list[Document]) -> dict[str, set[str]]:
    """Which server each of our pods may reach, on any of the servers' ports."""
    pods = {name: Peer(_OURS, one.labels) for name, one in workloads(documents).items()}
    ports = {*_PORTS.values(), 8002}
    return {
        source: {
            target
            for target in pods
            for port in ports
            if lets_through(documents, pods[source], pods[target], port)
        }
        for source in pods
    }


def ends(documents: list[Document], target: str, *labels: str) -> set[int]:
    """The ports of a server that a pod of another namespace may reach."""
    marks = {"kubernetes.io/metadata.name": "other"} | dict.fromkeys(labels, "true")
    other = Peer(marks, dict(LABELS))
    there = Peer(_OURS, workloads(documents)[target].labels)
    return {
        port for port in (*_PORTS.values(), 8002) if lets_through(documents, other, there, port)
    }


def test_the_arrows_are_those_of_the_design():
    assert arrows(render("embedded-kind")) == _ARROWS


def test_each_server_is_reached_at_its_own_port_alone():
    documents = render("embedded-kind")
    pods = {name: Peer(_OURS, one.labels) for name, one in workloads(documents).items()}
    for source, targets in _ARROWS.items():
        for target in targets:
            open_ports = {
                port
                for port in (*_PORTS.values(), 8002)
                if lets_through(documents, pods[source], pods[target], port)
            }
            assert open_ports == {_PORTS[target]}, (source, target)


def test_in_production_only_the_stores_are_elsewhere():
    wanted = {
        source: targets - set(_STORES)
        for source, targets in _ARROWS.items()
        if source not in (*_STORES, "s3-bucket")
    }
    documents = render("production")
    assert arrows(documents) == wanted
    policies = {one["metadata"]["name"]: one for one in of_kind(documents, "NetworkPolicy")}
    for store in _STORES:
        (rule,) = policies[f"to-{store}"]["spec"]["egress"]
        (peer,) = rule["to"]
        assert peer["ipBlock"]["cidr"].endswith("/32")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_may_leave_the_cluster(overlay: str):
    documents = render(overlay)
    found = workloads(documents)
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(documents, "NetworkPolicy")}
    for where, who in _OUTSIDE.items():
        selector = policies[f"to-{where}"]["podSelector"]
        assert {name for name, one in found.items() if selects(selector, one.labels)} == who
    for where in ("web", "mail"):
        (peer,) = policies[f"to-{where}"]["egress"][0]["to"]
        # The clouds' own metadata servers, and our neighbours.
        assert {"169.254.0.0/16", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12"} <= set(
            peer["ipBlock"]["except"]
        )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_other_namespaces_reach_what_their_label_says(overlay: str):
    documents = render(overlay)
    for target in _PORTS.keys() & workloads(documents).keys():
        assert ends(documents, target) == set()
        asked = {
            "actverse/pipelines": {"gateway": 8000, "mlflow": 5000, "triton": 8001, "s3": 8333},
            "actverse/ingress": {"gateway": 8000, "mlflow": 5000, "label-studio": 8080},
            "actverse/monitoring": {"gateway": 8000, "triton": 8002},
        }
        for label, servers in asked.items():
            wanted = {servers[target]} if target in servers else set()
            assert ends(documents, target, label) == wanted, (target, label)


def test_a_pod_of_a_pipelines_namespace_that_is_no_step_of_ours_gets_nowhere():
    documents = render("production")
    marks = {"kubernetes.io/metadata.name": "other", "actverse/pipelines": "true"}
    stranger = Peer(marks, {"app.kubernetes.io/component": "pipeline-step"})
    there = Peer(_OURS, workloads(documents)["mlflow"].labels)
    assert not lets_through(documents, stranger, there, 5000)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_policy_selects_a_pod_and_every_label_a_policy(overlay: str):
    documents = render(overlay)
    found = workloads(documents)
    policies = of_kind(documents, "NetworkPolicy")
    for policy in policies:
        selector = policy["spec"]["podSelector"]
        assert any(selects(selector, one.labels) for one in found.values()), policy["metadata"]
    names = {policy["metadata"]["name"] for policy in policies}
    for one in found.values():
        for label in one.labels:
            if label.startswith("to/"):
                assert label.replace("/", "-") in names, (one.name, label)


def without(documents: list[Document], policy: str) -> list[Document]:
    return [one for one in documents if one["metadata"]["name"] != policy]


@pytest.mark.parametrize("taken", ["to-mlflow", "triton-from-its-clients"])
def test_a_policy_that_is_gone_is_noticed(taken: str):
    assert arrows(without(render("embedded-kind"), taken)) != _ARROWS


def test_who_has_no_clients_is_closed_too():
    documents = render("production")
    assert ends(documents, "beat") == set()
    assert ends(without(documents, "nothing"), "beat")
