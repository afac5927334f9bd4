"""The checker of compiled pipelines finds what it is there to find."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional

import pytest
from kfp import compiler, dsl

from tests.helpers.pipeline_rules import faults_of, read_documents

PLAIN = {"base_image": "actverse/light:0.1.0", "install_kfp_package": False}


@dsl.component(**PLAIN)
def word(text: str) -> str:
    """Give a text back."""
    return text


@dsl.component(**PLAIN)
def words() -> list:
    """Two texts."""
    return ["a", "b"]


@dsl.component(**PLAIN)
def pair() -> NamedTuple("Pair", [("first", str), ("many", list)]):  # type: ignore[valid-type]
    """A text and texts, by name."""
    return "a", ["b"]


@dsl.component(**PLAIN)
def file(text: str, out: dsl.Output[dsl.Artifact]) -> None:
    """Make an artifact."""


@dsl.component(**PLAIN)
def read(text: str, given: dsl.Input[dsl.Artifact]) -> None:
    """Read an artifact."""


@dsl.component(base_image="actverse/light:latest", install_kfp_package=False)
def newest() -> None:
    """Who knows of what version."""


@dsl.component(base_image="actverse/light", install_kfp_package=False)
def untagged() -> None:
    """Of no version at all."""


@dsl.component(base_image="actverse/light:0.1.0", packages_to_install=["numpy"])
def installing() -> None:
    """Made of what is the newest today."""


@dsl.component(**PLAIN)
def login(api_token: str) -> None:
    """Needs a secret."""


@dsl.container_component
def container() -> dsl.ContainerSpec:
    """No Python."""
    return dsl.ContainerSpec(image="actverse/light:0.1.0", command=["true"])


def outer_parameter_in_a_loop() -> None:
    before = word(text="x")
    with dsl.ParallelFor(["a", "b"]):
        word(text=before.output)


def outer_parameter_in_a_loop_in_a_handler() -> None:
    with dsl.ExitHandler(word(text="end")):
        outer_parameter_in_a_loop()


def loop_over_a_named_output() -> None:
    with dsl.ParallelFor(pair().outputs["many"]) as item:
        word(text=item)


def condition_on_a_named_output() -> None:
    with dsl.If(pair().outputs["first"] == "a"):
        word(text="x")


def condition_on_a_quote() -> None:
    with dsl.If(word(text="it's").output == "it's"):
        word(text="x")


def optional_without_a_default(text: Optional[str] = None) -> None:  # noqa: UP045 (KFP's form)
    word(text=text)


def importer() -> None:
    read(text="x", given=dsl.importer("s3://bucket/key", dsl.Artifact).output)


def one_of_artifacts() -> None:
    with dsl.If(word(text="x").output == "x"):
        first = file(text="a")
    with dsl.Else():
        second = file(text="b")
    read(text="x", given=dsl.OneOf(first.outputs["out"], second.outputs["out"]))


def created() -> None:
    word(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)


def literal_secret() -> None:
    login(api_token="abc")


def secret_in_the_environment() -> None:
    word(text="x").set_env_variable("AWS_SECRET_ACCESS_KEY", "abc")


def password_in_a_url() -> None:
    word(text="amqp://user:word@broker/")


def newest_image() -> None:
    newest()


def untagged_image() -> None:
    untagged()


def installed_at_run_time() -> None:
    installing()


def container_component() -> None:
    container()


def all_that_is_right(texts: list, text: str = "") -> None:
    made = file(text=text)
    with dsl.ExitHandler(word(text="end")):
        with dsl.ParallelFor(texts, parallelism=2) as item:
            read(text=item, given=made.outputs["out"])
        with dsl.ParallelFor(words().output) as item:
            word(text=item)
        with dsl.If(word(text="x").output == "x"):
            word(text="a")


def faults(pipeline: Callable[..., None], folder: Path) -> list[str]:
    compiler.Compiler().compile(dsl.pipeline(pipeline), str(folder / "pipeline.yaml"))
    return faults_of(read_documents(folder / "pipeline.yaml"))


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (outer_parameter_in_a_loop, "outside of the loop"),
        (outer_parameter_in_a_loop_in_a_handler, "outside of the loop"),
        (loop_over_a_named_output, "goes over a named output"),
        (condition_on_a_named_output, "named output and has no Else"),
        (condition_on_a_quote, "holds a quote"),
        (optional_without_a_default, "no default"),
        (importer, "importer"),
        (one_of_artifacts, "one of many"),
        (created, "create_time"),
        (literal_secret, "literal api_token"),
        (secret_in_the_environment, "literal AWS_SECRET_ACCESS_KEY"),
        (password_in_a_url, "holds a password"),
        (newest_image, "without a version"),
        (untagged_image, "without a version"),
        (installed_at_run_time, "installs at run time"),
        (container_component, "container component"),
    ],
)
def test_a_bad_pipeline_is_caught(pipeline: Callable[..., None], said: str, tmp_path: Path):
    found = faults(pipeline, tmp_path)
    assert len(found) >= 1
    assert any(said in fault for fault in found), found


def test_a_good_one_is_not(tmp_path: Path):
    assert faults(all_that_is_right, tmp_path) == []
