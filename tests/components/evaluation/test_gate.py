"""The promotion gate, with a real registry and small real models."""

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from mlflow import MlflowClient

from components.evaluation.evaluate import Evaluation
from components.evaluation.gate import judge
from components.evaluation.promotion import Gated, gate
from components.registry.aliases import set_champion
from components.registry.tags import ServingState, write_state
from components.settings import Settings
from tests.helpers.blobs import make_blind
from tests.helpers.exports import register, write_export
from tests.helpers.tiny_onnx import SPECS

pytestmark = pytest.mark.slow


def _measured(score: float, labels: str = "detect") -> Evaluation:
    metrics = {"mAP50": 0.9, "mAP50-95": score}
    return Evaluation(labels=SPECS[labels], frames=6, objects=12, metrics=metrics)


@pytest.mark.parametrize(
    ("mine", "theirs", "min_gain", "earned"),
    [
        (0.51, 0.5, 0.0, True),
        (0.5, 0.5, 0.0, False),
        (0.49, 0.5, 0.0, False),
        (0.53, 0.5, 0.05, False),
        (0.56, 0.5, 0.05, True),
    ],
)
def test_only_more_than_the_champion_s_is_enough(
    mine: float, theirs: float, min_gain: float, earned: bool
) -> None:
    verdict = judge(_measured(mine), _measured(theirs), min_gain=min_gain)
    assert verdict.earned is earned
    assert f"{mine:.4f}" in verdict.reason
    assert (verdict.candidate["mAP50-95"], verdict.champion["mAP50-95"]) == (mine, theirs)


def test_no_champion_or_one_of_other_terms_is_no_hurdle() -> None:
    assert judge(_measured(0.0), None).reason == "There is no champion to beat."
    other = judge(_measured(0.0), _measured(1.0, "pose"))
    assert other.earned
    assert other.reason == (
        "The champion is for pose of red, green with key points left, right, the candidate for "
        "detect of red, green: they cannot be compared."
    )


def test_nothing_measured_is_nothing_earned() -> None:
    blank = Evaluation(labels=SPECS["detect"], frames=6, objects=0, metrics={})
    verdict = judge(blank, blank)
    assert not verdict.earned
    assert "No object is labelled in the 6 held-out frames" in verdict.reason


class _Model:
    """One registered model of the test's own, and what stands before its gate."""

    def __init__(self, name: str, dataset: Path, settings: Settings, folder: Path) -> None:
        self.name, self.dataset, self.settings, self.folder = name, dataset, settings, folder
        self.client = MlflowClient(settings.mlflow_uri)
        self.files: dict[int, Path] = {}

    def version(
        self, spoil: Callable[[Path], object] = lambda path: None, task: str = "detect"
    ) -> int:
        export = write_export(self.folder / f"export_{len(self.files)}", task=task)  # type: ignore[arg-type]
        spoil(export / "model.onnx")
        version = register(export, self.name, self.settings.mlflow_uri)
        self.files[version] = export / "model.onnx"
        return version

    def crown(self, version: int, state: ServingState = ServingState.READY) -> None:
        uri = self.settings.mlflow_uri
        write_state(self.name, version, state, tracking_uri=uri)
        set_champion(self.name, version, self.settings.champion_alias, tracking_uri=uri)

    def gate(self, version: int, **settings: float) -> Gated:
        changed = self.settings.model_copy(update=settings)
        return gate(self.name, version, self.files[version], self.dataset, settings=changed)

    def tags(self, version: int) -> dict[str, str]:
        tags = self.client.get_model_version(self.name, str(version)).tags
        return {key: value for key, value in tags.items() if key.startswith("gate.")}


@pytest.fixture
def model(
    blobs: dict[str, Path], mlflow_server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> _Model:
    settings = Settings(mlflow_uri=mlflow_server, home=tmp_path)
    return _Model(re.sub(r"\W", "_", request.node.name), blobs["detect"], settings, tmp_path)


def blind(path: Path) -> None:
    make_blind(path, 1)


def renamed(path: Path) -> None:
    """Another file that finds the same."""
    proto = onnx.load(path)
    proto.doc_string = "again"
    onnx.save(proto, path)


def test_the_first_version_has_none_to_beat(model: _Model) -> None:
    first = model.version(blind)
    gated = model.gate(first)
    assert (gated.version, gated.champion, gated.verdict.earned) == (first, None, True)
    tags = model.tags(first)
    assert (tags["gate.earned"], tags["gate.reason"]) == ("true", "There is no champion to beat.")
    assert float(tags["gate.candidate.mAP50"]) == 0.5
    assert not [key for key in tags if "champion" in key]


def test_who_finds_more_beats_who_finds_less(model: _Model) -> None:
    less, more = model.version(blind), model.version()
    model.crown(less)
    gated = model.gate(more)
    assert (gated.version, gated.champion) == (more, less)
    tags = model.tags(more)
    assert (tags["gate.earned"], tags["gate.champion.version"]) == ("true", str(less))
    assert (float(tags["gate.candidate.mAP50"]), float(tags["gate.champion.mAP50"])) == (1.0, 0.5)
    # With another threshold it is another verdict.
    assert model.gate(more, promotion_min_gain=0.5).version == less
    assert model.tags(more)["gate.earned"] == "false"
    # Without a champion nothing is left of the one that was.
    model.client.delete_registered_model_alias(model.name, model.settings.champion_alias)
    assert model.gate(more).champion is None
    assert not [key for key in model.tags(more) if "champion" in key]


@pytest.mark.parametrize("spoil", [blind, renamed])
def test_who_finds_less_or_as_much_leaves_the_champion(
    spoil: Callable[[Path], None], model: _Model
) -> None:
    champion, candidate = model.version(), model.version(spoil)
    model.crown(champion)
    gated = model.gate(candidate)
    assert (gated.version, gated.verdict.earned) == (champion, False)
    assert gated.facts()["champion_version"] == champion
    tags = model.tags(candidate)
    assert tags["gate.earned"] == "false"
    assert tags["gate.reason"].endswith("it must be above it to be served.")
    assert model.tags(champion) == {}


def test_a_champion_of_other_key_points_is_no_hurdle(model: _Model) -> None:
    champion, candidate = model.version(task="pose"), model.version(blind)
    model.crown(champion)
    gated = model.gate(candidate)
    assert gated.version == candidate
    assert "cannot be compared" in model.tags(candidate)["gate.reason"]


def test_the_champion_itself_stays_it_with_the_tags_of_its_first_time(model: _Model) -> None:
    less, more = model.version(blind), model.version()
    model.crown(less)
    model.gate(more)
    before = model.tags(more)
    model.crown(more)
    gated = model.gate(more)
    assert (gated.version, gated.verdict.earned) == (more, True)
    assert gated.verdict.reason == f"Version {more} is the champion already."
    assert model.tags(more) == before
    assert model.gate(less).version == more


def test_a_champion_that_was_never_fit_is_not_the_one_to_beat(model: _Model) -> None:
    served, unfit, candidate = model.version(), model.version(renamed), model.version(blind)
    model.crown(served)
    model.crown(unfit, ServingState.FAILED)
    gated = model.gate(candidate)
    assert (gated.version, gated.champion) == (served, served)
    # The unfit one may be tried again.
    assert model.gate(unfit).champion == served


def test_a_champion_whose_file_is_spoilt_is_no_hurdle(model: _Model) -> None:
    champion, candidate = model.version(), model.version(blind)
    model.crown(champion)
    source = model.client.get_model_version(model.name, str(champion)).source
    model.client.log_model_artifact(source.removeprefix("models:/"), str(model.files[candidate]))
    gated = model.gate(candidate)
    assert gated.version == candidate
    assert "version 1, cannot be measured any more: The model.onnx" in gated.verdict.reason
