"""What both overlays render: valid, pinned, confined, probed, and fitting together."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from components.settings import Settings
from gateway.flows import STEPS, Queue
from gateway.steps import FUNCTIONS
from tests.helpers.manifests import (
    MANIFESTS,
    OVERLAYS,
    Document,
    Workload,
    of_kind,
    render,
    selects,
    version,
    workloads,
)

_KUBERNETES = "1.34"
_OURS = {
    "gateway", "watcher", "beat", "actverse-prepare", "s3-bucket", "mlflow",
    *(f"worker-{queue}" for queue in Queue if queue is not Queue.IMPORT),
}  # fmt: skip
_WITH_TORCH = {f"worker-{Queue.IMPORT}"}


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


def image_fault(image: str) -> str:
    """Why an image is not pinned; empty if it is."""
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return f"{image} has no tag"
    if tag in ("latest", "main", "nightly", "edge", "stable") or not re.search(r"\d+\.\d+", tag):
        return f"{image} names no version"
    return "" if name else f"{image} has no name"


def pod_faults(workload: Workload) -> list[str]:
    """What is missing of a pod's confinement, probes and amounts."""
    pod, container = workload.pod, workload.container
    faults = []
    wanted: dict[str, Any] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    context = pod["securityContext"]
    faults += [key for key, value in wanted.items() if context.get(key) != value]
    if not context.get("runAsUser"):
        faults.append("runAsUser")
    confined = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    if container["securityContext"] != confined:
        faults.append("the container's securityContext")
    if pod.get("automountServiceAccountToken") is not False:
        faults.append("automountServiceAccountToken")
    for volume in pod.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            faults.append(f"sizeLimit of {volume['name']}")
        if "hostPath" in volume:
            faults.append("a hostPath")
    amounts = container["resources"]
    faults += [
        f"{part} {name}"
        for part, names in (("requests", ("cpu", "memory")), ("limits", ("memory",)))
        for name in names
        if name not in amounts.get(part, {})
    ]
    if workload.kind != "Job":
        faults += [probe for probe in ("startupProbe", "livenessProbe") if probe not in container]
        if "ports" in container and "readinessProbe" not in container:
            faults.append("readinessProbe")
    return faults


def test_every_document_is_valid_for_kubernetes(documents: list[Document]):
    for document in documents:
        kubernetes_validate.validate(document, _KUBERNETES, strict=True)


def test_a_misspelt_field_is_found():
    document = deepcopy(workloads(render("production"))["gateway"].document)
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(document, _KUBERNETES, strict=True)


def test_every_document_is_there_once_and_in_a_namespace(documents: list[Document]):
    names = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in documents
    ]
    assert len(names) == len(set(names))
    assert {kind for kind, namespace, _ in names if namespace is None} == {"Namespace"}
    assert not of_kind(documents, "Secret", "ClusterRole", "ClusterRoleBinding")


@pytest.mark.parametrize(
    "image",
    ["actverse/light", "actverse/light:latest", "host:5000/light", "redis:bookworm", ":1.0"],
)
def test_an_image_without_a_version_is_refused(image: str):
    assert image_fault(image)


def test_every_image_is_pinned_and_ours_are_this_version(documents: list[Document]):
    settings = Settings(image_tag=version())
    images = {name: one.container["image"] for name, one in workloads(documents).items()}
    assert not [fault for image in images.values() if (fault := image_fault(image))]
    for image, wanted in ((settings.light_image, _OURS), (settings.trainer_image, _WITH_TORCH)):
        assert {name for name, one in images.items() if one == image} == wanted & set(images)
    ours = {name for name, image in images.items() if "actverse/" in image}
    assert ours <= _OURS | _WITH_TORCH


def test_one_place_names_every_image(documents: list[Document]):
    kept = yaml.safe_load((MANIFESTS / "components/images/kustomization.yaml").read_text())
    tags = {image["name"]: image["newTag"] for image in kept["images"]}
    for workload in workloads(documents).values():
        name, _, tag = workload.container["image"].rpartition(":")
        assert tags[name] == tag
    for path in MANIFESTS.rglob("*.yaml"):
        if path.name not in ("compose.yaml",):
            assert not re.search(r"image: \S+:\S", path.read_text()), path


def test_every_pod_is_confined_probed_and_measured(documents: list[Document]):
    faults = {name: pod_faults(workload) for name, workload in workloads(documents).items()}
    assert not {name: found for name, found in faults.items() if found}


@pytest.mark.parametrize(
    ("where", "without"),
    [
        ("securityContext", "runAsNonRoot"),
        ("container", "securityContext"),
        ("container", "livenessProbe"),
        ("container", "readinessProbe"),
        ("resources", "limits"),
    ],
)
def test_a_pod_that_lacks_something_is_found(where: str, without: str):
    workload = workloads(deepcopy(render("production")))["gateway"]
    part = {
        "securityContext": workload.pod["securityContext"],
        "container": workload.container,
        "resources": workload.container["resources"],
    }[where]
    part[without] = {}
    if without.endswith("Probe"):
        del part[without]
    assert pod_faults(workload)


def test_the_gateway_listens_until_no_request_is_sent_to_it(documents: list[Document]):
    gateway = workloads(documents)["gateway"]
    seconds = gateway.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Then it has time to end what it answers.
    assert 5 <= seconds <= gateway.pod["terminationGracePeriodSeconds"] - 10


def test_the_read_me_makes_each_namespace_before_something_is_put_into_it():
    read_me = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    block = read_me.partition("## In production")[2].split("```")[1]
    before, _, after = block.partition("manifests/make-secrets.sh --apply")
    assert after
    (text,) = re.findall(r"<<PROFILE\n(.*?)\nPROFILE", before, re.DOTALL)
    profile = yaml.safe_load(text)
    assert (profile["apiVersion"], profile["kind"]) == ("kubeflow.org/v1", "Profile")
    made = {profile["metadata"]["name"], *re.findall(r"create namespace (\S+)", before)}
    assert made >= {
        one["metadata"]["namespace"]
        for one in render("production")
        if one["metadata"].get("namespace")
    }


def test_no_pod_but_those_that_ask_kubeflow_has_a_token(documents: list[Document]):
    tokens = {
        name: source["serviceAccountToken"]
        for name, workload in workloads(documents).items()
        for volume in workload.pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    }
    assert set(tokens) == {"gateway", "watcher"}
    assert {token["audience"] for token in tokens.values()} == {"pipelines.kubeflow.org"}
    for account in of_kind(documents, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    used = {workload.pod["serviceAccountName"] for workload in workloads(documents).values()}
    assert used == {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}


def test_kubeflow_lets_just_those_two_in_and_no_further_than_runs(documents: list[Document]):
    (role,) = of_kind(documents, "Role")
    (binding,) = of_kind(documents, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["metadata"]["namespace"] == role["metadata"]["namespace"] != "actverse"
    assert {(one["name"], one["namespace"]) for one in binding["subjects"]} == {
        ("gateway", "actverse"),
        ("watcher", "actverse"),
    }
    allowed = {
        resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]
    }
    assert allowed == {
        "experiments": {"create", "get", "list"},
        "runs": {"create", "get", "list", "terminate", "readLog"},
    }


def test_selectors_find_their_pods(documents: list[Document]):
    found = workloads(documents)
    for workload in found.values():
        if workload.kind != "Job":
            selector = workload.document["spec"]["selector"]
            taken = [name for name, one in found.items() if selects(selector, one.labels)]
            assert taken == [workload.name]
    for service in of_kind(documents, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        taken = [one for one in found.values() if selects(selector, one.labels)]
        assert [one.name for one in taken] == [service["metadata"]["name"]]
        opened = {one["name"]: one["containerPort"] for one in taken[0].container["ports"]}
        for port in service["spec"]["ports"]:
            assert opened[port["targetPort"]] == port["port"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        for one in found.values():
            asked = one.container.get(probe, {})
            for how in ("httpGet", "tcpSocket"):
                if how in asked:
                    names = {port["name"] for port in one.container["ports"]}
                    assert asked[how]["port"] in names


def test_scaling_and_disruption_are_of_workloads_that_exist(documents: list[Document]):
    found = workloads(documents)
    (scaler,) = of_kind(documents, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert found[target["name"]].kind == target["kind"]
    # A number there would undo the autoscaler's at each apply.
    assert "replicas" not in found[target["name"]].document["spec"]
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    assert [n for n, w in found.items() if selects(budget["spec"]["selector"], w.labels)] == [
        target["name"]
    ]
    least = scaler["spec"]["minReplicas"]
    # Else no node could ever be drained.
    assert least > budget["spec"].get("minAvailable", 0)


def test_there_is_one_beat_one_watcher_one_triton(documents: list[Document]):
    found = workloads(documents)
    for name in ("beat", "watcher", "triton", "mlflow"):
        spec = found[name].document["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"}), name
    beats = [n for n, w in found.items() if w.container.get("args", [])[:2] == ["serve", "beat"]]
    assert beats == ["beat"]


def test_every_queue_has_its_workers(documents: list[Document]):
    served = [
        one.container["args"][one.container["args"].index("--queue") + 1]
        for one in workloads(documents).values()
        if one.container.get("args", [])[:2] == ["serve", "worker"]
    ]
    assert sorted(served) == sorted(queue.value for queue in Queue)


def test_a_step_that_loads_checkpoints_has_workers_with_torch(documents: list[Document]):
    # It has them exported in a process of the worker's own image.
    loading = {name for name, step in FUNCTIONS.items() if "import_model" in step.__code__.co_names}
    assert loading == {"bring"}
    for name in loading:
        container = workloads(documents)[f"worker-{STEPS[name].queue}"].container
        assert container["image"] == Settings(image_tag=version()).trainer_image


def test_the_commands_are_those_of_the_command_line(documents: list[Document]):
    from click.testing import CliRunner

    from actverse.cli import cli

    for workload in workloads(documents).values():
        container = workload.container
        if container.get("command") != ["actverse"]:
            continue
        said = CliRunner().invoke(cli, [*container["args"], "--help"])
        assert said.exit_code == 0, (container["args"], said.output)
        for probe in ("startupProbe", "livenessProbe"):
            command = container.get(probe, {}).get("exec", {}).get("command", ["actverse"])
            assert command[0] == "actverse"
            said = CliRunner().invoke(cli, [*command[1:], "--help"])
            assert said.exit_code == 0, (command, said.output)


def test_a_temporary_folder_and_a_home_can_be_written(documents: list[Document]):
    for workload in workloads(documents).values():
        if workload.container.get("command") == ["actverse"]:
            mounts = {one["mountPath"] for one in workload.container["volumeMounts"]}
            assert mounts >= {"/tmp", "/var/lib/actverse"}


def test_gpus_are_asked_for_in_production_alone():
    limits = {
        overlay: workloads(render(overlay))["triton"].container["resources"]["limits"]
        for overlay in OVERLAYS
    }
    assert limits["production"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in limits["embedded-kind"]


def test_production_brings_no_store_of_its_own():
    assert not of_kind(render("production"), "StatefulSet")
    assert {one["metadata"]["name"] for one in of_kind(render("embedded-kind"), "StatefulSet")} == {
        "postgres", "rabbitmq", "redis", "s3",
    }  # fmt: skip


def test_no_secret_lies_in_the_folder():
    for path in MANIFESTS.rglob("*"):
        if path.is_file() and "secrets" not in path.relative_to(MANIFESTS).parts:
            text = path.read_text()
            assert not re.search(
                r"[0-9a-fA-F]{32}|://[^/\s$]+:[^@\s$]+@", _without_help(path, text)
            )


def _without_help(path: Path, text: str) -> str:
    # The script writes URLs with the passwords it has made.
    return "" if path.name == "make-secrets.sh" else text
