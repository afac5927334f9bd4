"""Aliases and what is served are brought together, whatever happened in between."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.registry.aliases import set_champion
from components.registry.tags import ServingState, read_state, write_state
from components.serving.promote import Promoter
from components.serving.reconcile import Action, Reconciled, reconcile
from components.settings import Settings
from tests.helpers.exports import IMAGES, boxes_of, other_findings
from tests.helpers.hammer import Hammer
from tests.helpers.servers import TritonServer, new_triton


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One that may be killed and restarted."""
    server = new_triton(tmp_path_factory.mktemp("own_triton"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(
    own_triton: TritonServer, mlflow_server: str, request: pytest.FixtureRequest
) -> Settings:
    # An alias of its own for each test: the registry is the whole session's.
    update = {"mlflow_uri": mlflow_server, "champion_alias": request.node.name.replace("_", "")}
    return own_triton.settings.model_copy(update=update)


def outcome(promoter: Promoter, model: str, **options: object) -> Reconciled:
    (one,) = (one for one in reconcile(promoter, **options) if one.model == model)
    return one


def point(settings: Settings, model: str, version: int) -> None:
    set_champion(model, version, settings.champion_alias, tracking_uri=settings.mlflow_uri)


def answered_by(settings: Settings, model: str, export: Path) -> bool:
    return Hammer(settings.triton_url, model, IMAGES).once() == boxes_of(export)


def test_alias_is_followed_there_and_back(
    promoter: Promoter, settings: Settings, registered: Callable[..., int], tmp_path: Path
):
    first, second = registered("followed", 1), registered("followed", 2)
    for version in (first, second, first):
        point(settings, "followed", version)
        assert outcome(promoter, "followed") == Reconciled("followed", version, Action.PROMOTED)
        assert answered_by(settings, "followed", tmp_path / f"export_{version}")
        assert outcome(promoter, "followed").action is Action.UNCHANGED


def test_unchanged_costs_no_download_and_settles_the_state(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
):
    version = registered("idle", 1)
    point(settings, "idle", version)
    reconcile(promoter)
    uri = settings.mlflow_uri
    # As ``deploy`` does, with a webhook that is lost.
    write_state("idle", version, ServingState.REQUESTED, tracking_uri=uri)
    monkeypatch.setattr("components.serving.promote.download_version", None)
    assert outcome(promoter, "idle").action is Action.UNCHANGED
    assert read_state("idle", version, tracking_uri=uri).state is ServingState.READY


def test_killed_stub_is_noticed_and_replaced(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    own_triton: TritonServer,
    tmp_path: Path,
):
    version = registered("stabbed", 1)
    point(settings, "stabbed", version)
    reconcile(promoter)
    (stub,) = own_triton.stubs("stabbed")
    os.kill(stub, signal.SIGKILL)
    with promoter.control() as control:
        assert control.ready_versions("stabbed") == {version}, "Triton noticed by itself"
    assert outcome(promoter, "stabbed").action is Action.RELOADED
    assert answered_by(settings, "stabbed", tmp_path / "export_1")


def test_failed_version_is_not_tried_again_until_asked_for(
    promoter: Promoter, settings: Settings, registered: Callable[..., int], tmp_path: Path
):
    good, bad = registered("stubborn", 1), registered("stubborn", 2, other_findings)
    point(settings, "stubborn", good)
    reconcile(promoter)
    point(settings, "stubborn", bad)
    first = outcome(promoter, "stubborn")
    assert first.action is Action.FAILED
    assert "parity frames" in first.reason
    assert outcome(promoter, "stubborn").action is Action.SKIPPED
    assert outcome(promoter, "stubborn", force=["stubborn"]).action is Action.FAILED
    assert answered_by(settings, "stubborn", tmp_path / "export_1")


def test_restarted_triton_serves_again_what_it_served(
    promoter: Promoter,
    settings: Settings,
    registered: Callable[..., int],
    own_triton: TritonServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    good, bad = registered("kept", 1), registered("kept", 2, other_findings)
    steady = registered("steady", 3)
    point(settings, "kept", good)
    point(settings, "steady", steady)
    reconcile(promoter)
    point(settings, "kept", bad)
    reconcile(promoter)
    own_triton.stop()
    own_triton.start()
    # The files are still there.
    monkeypatch.setattr("components.serving.promote.download_version", None)
    actions = {one.model: one.action for one in reconcile(promoter)}
    assert actions == {"kept": Action.RELOADED, "steady": Action.RELOADED}
    assert answered_by(settings, "kept", tmp_path / "export_1")
    assert answered_by(settings, "steady", tmp_path / "export_3")


def test_fault_of_one_model_does_not_keep_another_from_service(
    promoter: Promoter, settings: Settings, registered: Callable[..., int]
):
    bad, good = registered("a_bad", 2, other_findings), registered("b_good", 1)
    point(settings, "a_bad", bad)
    point(settings, "b_good", good)
    actions = {one.model: one.action for one in reconcile(promoter)}
    assert actions == {"a_bad": Action.FAILED, "b_good": Action.PROMOTED}
