"""Steps that ask a model which a real Triton has lost: they wait for it, and go on from there."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import pytest

from components.errors import Unavailable
from components.frame_results import read_chunks
from components.registry.aliases import set_champion
from components.serving.control import TritonControl
from components.serving.promote import Promoter
from components.serving.reconcile import reconcile
from components.settings import Settings
from components.storage import open_storage
from components.video.probe import probe_video
from components.video.writer import Mp4Writer
from gateway.database import Sessions
from gateway.leases import claim_step
from gateway.models import Step
from gateway.runner import Outcome, StepRunner
from gateway.steps import FUNCTIONS
from gateway.steps.analysis import preannotate
from gateway.steps.choosing import choose_frames
from gateway.steps.context import StepContext
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.exports import register, write_export
from tests.helpers.servers import TritonServer, new_triton, running_mlflow
from tests.helpers.tasks import set_step
from tests.helpers.tiny_onnx import draw_frame

MODEL, FRAMES = "ada-blobs", 120
LOST = "does not serve version 1 of the model ada-blobs at the moment"


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Its own: it is killed."""
    server = new_triton(tmp_path_factory.mktemp("triton"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def served(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    """The promoter of a stack whose registry names version 1 of a blob finder the champion."""
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow(folder) as uri:
        version = register(write_export(folder / "export"), MODEL, uri)
        settings = triton.settings.model_copy(update={"mlflow_uri": uri})
        set_champion(MODEL, version, settings.champion_alias, tracking_uri=uri)
        yield Promoter(settings)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "video.mp4"
    with Mp4Writer(path, wh=(160, 120), fps=25, crf=30) as writer:
        for index in range(FRAMES):
            writer.write(draw_frame((160, 120), seed=index // 20)[0])
    return path


class Analysis:
    """A task of ada's that analyses the clip, run attempt by attempt."""

    def __init__(self, settings: Settings, sessions: Sessions, clip: Path, model: str) -> None:
        self.settings, self.sessions = settings, sessions
        work = Work(file_path="clip.mp4", model_name=model, batch_size=1)
        with sessions.begin() as session:
            self.task_id = create_task(session, "ada", "inference", work).id
        facts = {"video": probe_video(clip).model_dump(mode="json")}
        for name in ("download", "validate", "convert"):
            set_step(sessions, self.task_id, name, state="succeeded", facts=facts)
        video = settings.layout.video(self.task_id) / "video.mp4"
        video.parent.mkdir(parents=True)
        video.write_bytes(clip.read_bytes())

    def attempt(self, at: Callable[[], object] | None = None) -> Outcome:
        """Run the step once; ``at`` is called when it has analysed some frames."""
        set_step(self.sessions, self.task_id, "analyse", not_before=None)
        with self.sessions.begin() as session:
            step = claim_step(session, self.task_id, "analyse", "w", timedelta(minutes=5))
        assert step is not None
        runner = StepRunner(self.settings, self.sessions, open_storage(self.settings))
        left = [at] if at else []

        def run(context: Any) -> dict[str, Any]:
            told = context.progress

            def progress(done: float, total: float, **facts: Any) -> None:
                told(done, total, **facts)
                if done >= 20 and left:
                    left.pop()()

            object.__setattr__(context, "progress", progress)
            return FUNCTIONS["analyse"](context)

        outcome = runner.run(step, "w", run).outcome
        assert not left, "the moment did not come"
        return outcome

    @property
    def step(self) -> Step:
        with self.sessions() as session:
            return next(s for s in read_task(session, self.task_id).steps if s.name == "analyse")

    @property
    def frames(self) -> list[int]:
        chunks = read_chunks(self.settings.layout.results(self.task_id))
        return [entry.frame for chunk in chunks for entry in chunk]


@pytest.fixture
def analysis(
    settings: Settings, sessions: Sessions, served: Promoter, clip: Path
) -> Callable[..., Analysis]:
    theirs = served.settings
    ours = settings.model_copy(
        update={"triton_url": theirs.triton_url, "mlflow_uri": theirs.mlflow_uri}
    )
    return lambda model=MODEL: Analysis(ours, sessions, clip, model)


def _kill(triton: TritonServer) -> None:
    assert triton.process is not None
    os.killpg(triton.process.pid, signal.SIGKILL)
    triton.process.wait()


def _restart(triton: TritonServer) -> None:
    _kill(triton)
    triton.start()


def _kill_stub(triton: TritonServer) -> None:
    (stub,) = triton.stubs(MODEL)
    os.kill(stub, signal.SIGKILL)


def _unload(triton: TritonServer) -> None:
    with TritonControl(triton.url) as control:
        control.unload(MODEL)


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (_kill, "did not answer"),
        (_restart, ""),
        (_kill_stub, LOST),
        (_unload, LOST),
    ],
    ids=["killed", "restarted", "stub killed", "unloaded"],
)
def test_an_analysis_waits_for_a_model_that_was_lost_in_it(
    analysis, triton: TritonServer, served: Promoter, lose: Callable[..., None], said: str
):
    reconcile(served)
    task = analysis()
    assert task.attempt(lambda: lose(triton)) is Outcome.RETRIED
    assert task.step.state == "pending"
    assert said in task.step.error
    if triton.process.poll() is not None:
        triton.start()
    # Nobody has loaded it yet.
    assert task.attempt() is Outcome.RETRIED
    assert LOST in task.step.error
    reconcile(served)
    assert task.attempt() is Outcome.SUCCEEDED
    assert task.frames == list(range(FRAMES))
    assert task.step.attempt == 3


def test_a_model_that_is_not_to_be_served_is_not_waited_for(
    analysis, served: Promoter, tmp_path: Path
):
    task = analysis("nobody")
    assert task.attempt() is Outcome.FAILED
    assert "'nobody' is not served: give a version of it the champion's alias" in task.step.error
    # Registered, and never given the alias.
    register(write_export(tmp_path, seed=3), "ada-shelved", served.settings.mlflow_uri)
    task = analysis("ada-shelved")
    assert task.attempt() is Outcome.FAILED


@pytest.fixture
def asking(served: Promoter, clip: Path, tmp_path: Path) -> Callable[..., StepContext]:
    """The context of a step whose task could do with the model as the global one."""
    settings = served.settings.model_copy(update={"global_model": MODEL})
    task_id = f"t-{uuid.uuid4().hex[:12]}"
    frames = settings.layout.frames(task_id)
    frames.mkdir(parents=True)
    cv2.imwrite(str(frames / "frame_000000.png"), draw_frame((160, 120), seed=0)[0])
    facts = {"convert": {"video": probe_video(clip).model_dump(mode="json")}}

    def make(attempt: int, **work: Any) -> StepContext:
        return StepContext(
            settings=settings,
            storage=open_storage(settings),
            task_id=task_id,
            user_id="ada",
            work=Work(**work),
            facts=facts,
            progress=lambda done, total, **facts: None,
            check=lambda: None,
            attempt=attempt,
        )

    return make


@pytest.mark.parametrize("lose", [_unload, _kill_stub], ids=["unloaded", "stub killed"])
def test_a_model_that_only_helps_is_waited_for_a_while(
    asking, triton: TritonServer, served: Promoter, clip: Path, lose: Callable[..., None]
):
    reconcile(served)
    lose(triton)
    for ask in (preannotate, lambda context: choose_frames(context, clip)):
        with pytest.raises(Unavailable, match=LOST):
            ask(asking(attempt=1, num_frames=4))
    # The task is not to fail for it.
    assert preannotate(asking(attempt=5))["model"] == ""
    assert choose_frames(asking(attempt=5, num_frames=4), clip).options.strategy == "uniform"
    # Unless somebody has asked for it by name.
    with pytest.raises(Unavailable, match=LOST):
        choose_frames(asking(attempt=5, num_frames=4, strategy="active"), clip)
    reconcile(served)
    assert preannotate(asking(attempt=2))["model"] == MODEL
    assert choose_frames(asking(attempt=2, num_frames=4), clip).options.strategy != "uniform"
