"""What each task is given besides its step, as it stands in the YAML."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadInput
from components.settings import Settings
from pipelines.backend import PipelineName
from pipelines.compile import compile_pipeline
from pipelines.spec_tasks import spec_tasks
from pipelines.task_policy import CONFIG_KEYS, OPTIONAL_CONFIG_KEYS, POLICIES
from tests.helpers.pipeline_rules import read_documents

PIPELINES: tuple[PipelineName, ...] = ("training", "analysis")


class Compiled:
    """The tasks of a pipeline: their part of the spec, their container, their pod."""

    def __init__(self, name: PipelineName, folder: Path, **settings: Any) -> None:
        target = folder / f"{name}.yaml"
        compile_pipeline(name, target, Settings(home=folder, **settings))
        self.spec, platform = read_documents(target)
        self.pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    @cached_property
    def tasks(self) -> dict[str, Any]:
        dags = [self.spec["root"], *self.spec["components"].values()]
        tasks: dict[str, Any] = {}
        for component in dags:
            tasks |= component.get("dag", {}).get("tasks", {})
        return {name.replace("-", "_"): tasks[name] for name in spec_tasks(self.spec)}

    def container(self, name: str) -> Any:
        return self.spec["deploymentSpec"]["executors"][self._executor(name)]["container"]

    def pod(self, name: str) -> Any:
        return self.pods[self._executor(name)]

    def _executor(self, name: str) -> str:
        return self.spec["components"][self.tasks[name]["componentRef"]["name"]]["executorLabel"]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The training on a GPU."""
    return Compiled(
        "training",
        tmp_path_factory.mktemp("yaml"),
        image_repository="registry/lab",
        image_tag="7.1",
        training_gpus=2,
        gpu_type="amd.com/gpu",
        gpu_node_selector={"pool": "gpus"},
        gpu_tolerations=("amd.com/gpu:NoSchedule", "team=lab:NoExecute"),
        training_memory="24Gi",
        training_shared_memory="6Gi",
        pipeline_cpu="500m",
        step_timeout=3000,
    )


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The analysis as it is by default, but for one thing."""
    return Compiled("analysis", tmp_path_factory.mktemp("yaml"), pipeline_parallelism=3)


@pytest.fixture
def both(training: Compiled, analysis: Compiled) -> list[tuple[Compiled, str]]:
    """Each task of each pipeline."""
    return [(one, name) for one in (training, analysis) for name in one.tasks]


def test_every_task_has_a_policy_and_every_policy_a_task(both: list[tuple[Compiled, str]]):
    assert sorted(name for _, name in both) == sorted(POLICIES)


def test_every_task_is_named_bounded_and_runs_as_nobody_special(
    both: list[tuple[Compiled, str]],
):
    titles = [one.tasks[name]["taskInfo"]["name"] for one, name in both]
    assert len(set(titles)) == len(titles)
    for one, name in both:
        resources, pod = one.container(name)["resources"], one.pod(name)
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"]
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"]
        assert int(pod["activeDeadlineSeconds"]) > 0
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert int(pod["securityContext"]["runAsUser"]) == 10001
        assert pod["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "actverse"


def test_images_are_the_settings_own_and_torch_is_where_it_is_needed(training: Compiled):
    images = {name: training.container(name)["image"] for name in training.tasks}
    trainer = {name for name, image in images.items() if image == "registry/lab/trainer:7.1"}
    assert trainer == {"train", "export"}
    assert {image for name, image in images.items() if name not in trainer} == {
        "registry/lab/light:7.1"
    }


def test_amounts_come_from_settings(training: Compiled, analysis: Compiled):
    assert training.container("register")["resources"]["resourceCpuLimit"] == "500m"
    assert training.container("train")["resources"]["resourceMemoryLimit"] == "24Gi"
    assert training.pod("train")["activeDeadlineSeconds"] == "3000"
    assert analysis.container("analyse")["resources"]["resourceMemoryLimit"] == "4Gi"


def test_the_training_alone_gets_gpus_their_nodes_and_shared_memory(
    training: Compiled, analysis: Compiled
):
    accelerator = training.container("train")["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("amd.com/gpu", "2")
    pod = training.pod("train")
    assert pod["nodeSelector"]["labels"] == {"pool": "gpus"}
    assert pod["tolerations"] == [
        {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "lab", "effect": "NoExecute"},
    ]
    assert pod["emptyDirMounts"] == [
        {
            "volumeName": "shared-memory",
            "mountPath": "/dev/shm",
            "medium": "Memory",
            "sizeLimit": "6Gi",
        }
    ]
    for one in (training, analysis):
        for name in one.tasks.keys() - {"train"}:
            assert "accelerator" not in one.container(name)["resources"]
            assert not {"nodeSelector", "tolerations", "emptyDirMounts"} & one.pod(name).keys()


def test_without_gpus_none_is_asked_for(tmp_path: Path):
    compiled = Compiled("training", tmp_path, gpu_tolerations=("a:NoSchedule",))
    assert "accelerator" not in compiled.container("train")["resources"]
    assert "tolerations" not in compiled.pod("train")
    assert "emptyDirMounts" in compiled.pod("train")


def test_only_what_its_parameters_determine_is_cached(both: list[tuple[Compiled, str]]):
    cached = {name for one, name in both if one.tasks[name]["cachingOptions"].get("enableCache")}
    assert cached == {"dataset", "export"}


def test_what_is_cached_is_given_what_it_depends_on_as_parameters(training: Compiled):
    def parameters(name: str) -> Any:
        return training.tasks[name]["inputs"]["parameters"]

    assert parameters("dataset")["labels_digest"] == {
        "componentInputParameter": "pipelinechannel--labels_digest"
    }
    assert parameters("export")["run_id"]["taskOutputParameter"] == {
        "producerTask": "train",
        "outputParameterKey": "run_id",
    }


def test_repeats_are_where_they_help(both: list[tuple[Compiled, str]], tmp_path: Path):
    retries = {
        name: one.tasks[name].get("retryPolicy", {}).get("maxRetryCount", 0) for one, name in both
    }
    assert {name for name, count in retries.items() if not count} == {
        "deploy",
        "run_end",
        "summary",
    }
    assert retries["train"] == 1
    assert retries["dataset"] == retries["analyse"] == 2
    policies = [one.tasks[name]["retryPolicy"] for one, name in both if retries[name]]
    assert all(policy["backoffFactor"] > 1 for policy in policies)
    # Argo counts it from the first attempt's begin, so it must leave time for each of them.
    for one, name in both:
        if retries[name]:
            longest = int(one.tasks[name]["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
            attempts = (retries[name] + 1) * int(one.pod(name)["activeDeadlineSeconds"])
            assert longest > attempts + sum(15 * 2**n for n in range(retries[name])), name
    once = Compiled("training", tmp_path, pipeline_retries=0)
    assert not any("retryPolicy" in task for task in once.tasks.values())


def test_settings_come_from_the_config_map(both: list[tuple[Compiled, str]]):
    for one, name in both:
        needed, optional = one.pod(name)["configMapAsEnv"]
        for wanted, keys in ((needed, CONFIG_KEYS), (optional, OPTIONAL_CONFIG_KEYS)):
            assert wanted["configMapName"] == "actverse-pipeline"
            assert [(e["configMapKey"], e["envVar"]) for e in wanted["keyToEnv"]] == [
                (key, key) for key in keys
            ]
        assert not needed.get("optional", False)
        assert optional["optional"] is True


def test_each_variable_is_a_setting_and_none_a_secret():
    fields = Settings.model_fields
    for variable in (*CONFIG_KEYS, *OPTIONAL_CONFIG_KEYS):
        name = variable.removeprefix("ACTVERSE_").lower()
        assert name in fields
        assert fields[name].repr, "a URL that may hold a password belongs into a Secret"
        assert "Secret" not in str(fields[name].annotation)


def test_secrets_come_from_secrets_and_the_exit_handlers_goes_to_nobody_else(
    both: list[tuple[Compiled, str]],
):
    for one, name in both:
        given = {
            entry["secretName"]: {key["envVar"] for key in entry["keyToEnv"]}
            for entry in one.pod(name)["secretAsEnv"]
        }
        storage = {"actverse-storage": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}}
        report = {"actverse-pipeline": {"ACTVERSE_PIPELINE_SECRET"}}
        assert given == (storage | report if name == "run_end" else storage)
        assert "env" not in one.container(name)


def test_the_loop_is_bounded_and_the_exit_handler_runs_in_the_end(
    training: Compiled, analysis: Compiled
):
    loop = analysis.spec["root"]["dag"]["tasks"]["for-loop-1"]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3
    handler = training.spec["root"]["dag"]["tasks"]["run-end"]
    assert handler["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert handler["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"]
    assert set(training.spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "run-end"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("pipeline_cpu", "many"),
        ("training_memory", "16 GB"),
        ("analysis_memory", ""),
        ("training_shared_memory", "4 Gi"),
        ("training_memory", "0"),
        ("training_memory", "0Gi"),
        ("pipeline_cpu", "0"),
        ("analysis_cpu", "0.0"),
        ("analysis_cpu", "2\n"),
        ("training_cpu", "000m"),
        ("gpu_tolerations", ("gpu",)),
        ("gpu_type", ""),
        ("gpu_type", "a b"),
        ("gpu_type", "gpu"),
        ("gpu_node_selector", {"a b": "c"}),
        ("gpu_node_selector", {"": "c"}),
        ("gpu_node_selector", {"pool": "c d"}),
        ("gpu_node_selector", {"-.org/pool": "c"}),
        ("image_repository", ""),
        ("image_repository", "Reg Istry"),
        ("image_repository", "https://registry/lab"),
        ("image_repository", "registry/lab/"),
        ("image_repository", "registry/lab:1.0"),
        ("pipeline_config_map", ""),
        ("pipeline_config_map", "Actverse"),
        ("pipeline_storage_secret", ""),
        ("pipeline_report_secret", "a_b"),
        ("pipeline_report_secret", "a" * 254),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting: str, value: Any, tmp_path: Path):
    with pytest.raises(BadInput, match=f"ACTVERSE_{setting.upper()}"):
        for name in PIPELINES:
            Compiled(name, tmp_path, training_gpus=1, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("pipeline_cpu", "500m"),
        ("pipeline_cpu", ".5"),
        ("pipeline_memory", "2147483648"),
        ("gpu_type", "nvidia.com/mig-1g.5gb"),
        ("gpu_node_selector", {"cloud.example.org/gke-accelerator": "nvidia_T4", "spot": ""}),
        ("image_repository", "registry.example.org:5000"),
        ("image_repository", "LOCALHOST:5000/lab/act__verse"),
        ("image_repository", "eu-docker.pkg.dev/project-1/lab"),
        ("pipeline_config_map", "a.b-c"),
        ("pipeline_storage_secret", "a" * 253),
    ],
)
def test_what_a_cluster_takes_is_taken(setting: str, value: Any, tmp_path: Path):
    assert Compiled("training", tmp_path, training_gpus=1, **{setting: value}).tasks
