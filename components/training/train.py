"""Trains the user's own YOLO on a dataset."""

import errno
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components import ultralytics_env
from components.dataset.facts import DatasetFacts, read_dataset
from components.errors import ActverseError, TrainingFailed, disk_errors
from components.files import whole_file, whole_folder, write_text
from components.steps import Progress, no_progress
from components.training.epochs import EpochLog, diverged
from components.training.result import MODEL, PLOTS, RESULT, TrainingResult, read_training
from components.training.settings import TrainingSettings
from components.training.termination import Terminated, sigterm_raises
from components.training.tracking import Tracking

if TYPE_CHECKING:
    from components.training.mlflow_run import MlflowRun

__all__ = ["Tracking", "finish_tracking", "train"]

UNSENT = "unsent.json"
"""The figures of epochs that the tracking server had not taken when the training was done."""


def train(
    dataset: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    tracking: Tracking | None = None,
    progress: Progress = no_progress,
    made: Callable[[], None] = lambda: None,
) -> TrainingResult:
    """Train a model; ``out`` gets ``model.pt``, ``training.json`` and ``plots/``, each whole.

    Ultralytics works in a folder of its own beside ``out``, which is gone at the end; nothing
    is written to the dataset or the working directory. Equal settings and data give equal
    weights on a CPU with the same number of threads.

    Args:
        dataset: a folder that ``build_dataset`` made.
        out: what else lies in it stays.
        settings: see TrainingSettings.
        tracking: where every epoch, the parameters, the dataset, the plots and the model go;
            see ``metric_names`` for the names. The run ends as FINISHED, as FAILED with the
            reason as its tag ``error``, or as KILLED after Ctrl-C or SIGTERM.
        progress: called after each epoch with the number of epochs done, the epochs planned,
            and the facts ``epoch``, ``epochs`` and ``metrics`` (clean names to floats).
        made: called when ``out`` is whole, before the tracking server is given it: from here
            on ``finish_tracking`` does the rest.

    Raises:
        NotFound, BadInput: if the dataset or the weights cannot be used, or the run to bind to
            does not exist.
        TrainingFailed: if it ends without a usable model.
        Unavailable: if the tracking server does not answer at the start or at the end, for
            longer than ``tracking.patience``; after the end ``model.pt`` is in ``out``.
        StorageFull: when the disk is full.
    """
    dataset, out = Path(dataset), Path(out)
    facts = read_dataset(dataset)
    with sigterm_raises(), _tracked(tracking) as run:
        if run:
            run.log_params(
                {
                    **settings.model_dump(exclude_none=True),
                    "task": facts.spec.task,
                    "names": ",".join(facts.spec.names),
                }
            )
            run.log_dataset(dataset, facts)
        with disk_errors("the training"), _work_folder(out) as work:
            uri = tracking.uri if tracking else ""
            result = _train(dataset, facts, out, work, settings, run, uri, progress)
        if run:
            run.write_unsent(out / UNSENT)
        made()
        if run:
            _give(run, result, out)
    return result


def finish_tracking(out: Path, tracking: Tracking) -> TrainingResult | None:
    """Give the tracking server what is missing of a finished training, and end its run.

    Args:
        out: the folder that ``train`` has made.
        tracking: without a run id: that of the training is taken.

    Returns:
        The training's result; None if its run is gone, so that nothing can be listed with it.

    Raises:
        NotFound, BadInput: if there is no finished training in ``out``.
        Unavailable: if the tracking server does not answer for longer than we wait.
    """
    from components.training.mlflow_run import run_state

    result = read_training(out)
    theirs = replace(tracking, run_id=result.run_id)
    state = run_state(theirs)
    if state not in ("", "FINISHED"):
        with _tracked(theirs) as run:
            if run:
                run.tag({"error": "", "mlflow.note.content": ""})
                run.read_unsent(out / UNSENT)
                _give(run, result, out)
    return result if state else None


def _give(run: "MlflowRun", result: TrainingResult, out: Path) -> None:
    """Give the tracking server what a training has ended with."""
    best = {f"best/{name}": value for name, value in result.metrics.items()}
    run.log_metrics(best, step=result.best_epoch)
    run.log_files(out / PLOTS, PLOTS)
    run.log_files(out / MODEL)
    run.log_files(out / RESULT)


def _train(
    dataset: Path,
    facts: DatasetFacts,
    out: Path,
    work: Path,
    settings: TrainingSettings,
    run: "MlflowRun | None",
    tracking_uri: str,
    progress: Progress,
) -> TrainingResult:
    ultralytics_env.prepare()
    from components.training.ultralytics_run import run_ultralytics
    from components.training.weights import find_start

    started = time.monotonic()
    with _explained(settings):
        start = find_start(settings.weights, settings.model, work, tracking_uri)
    chosen = settings.with_lr0(from_weights=start.checkpoint is not None)
    if run:
        run.tag({"start": f"{start.name}: {start.reason}" if start.reason else start.name})
        if settings.lr0 is None:
            run.log_params({"lr0": chosen.lr0})
    settings, log = chosen, EpochLog(chosen, run, progress)
    with _explained(settings, log):
        outcome = run_ultralytics(dataset, facts.spec, settings, start.checkpoint, work, log)
    result = TrainingResult(
        run_id=run.run_id if run else "",
        spec=facts.spec,
        settings=settings,
        start=start.name,
        start_reason=start.reason,
        imgsz=settings.imgsz,
        dataset_digest=facts.digest,
        epochs=log.epochs_done,
        best_epoch=log.best_epoch,
        metrics=outcome.metrics,
        seconds=round(time.monotonic() - started, 3),
    )
    # The result goes first and comes last: where it stands, all of it is of one training.
    (out / RESULT).unlink(missing_ok=True)
    (out / UNSENT).unlink(missing_ok=True)
    with whole_folder(out / PLOTS) as beside:
        for plot in outcome.plots:
            shutil.copyfile(plot, beside / plot.name)
    with whole_file(out / MODEL) as beside_model:
        shutil.copyfile(outcome.checkpoint, beside_model)
    write_text(out / RESULT, result.model_dump_json(indent=2))
    return result


@contextmanager
def _tracked(tracking: Tracking | None) -> Iterator["MlflowRun | None"]:
    """The run to write to; it ends with the block, in the state in which the block ends."""
    if tracking is None:
        yield None
        return
    from components.training.mlflow_run import MlflowRun

    run = MlflowRun(tracking)
    try:
        yield run
    except (KeyboardInterrupt, Terminated):
        run.abandon("KILLED", "The training was ended from outside.")
        raise
    except ActverseError as error:
        run.abandon("FAILED", str(error))
        raise
    except BaseException as error:
        run.abandon("FAILED", f"The training broke: {type(error).__name__}: {error}")
        raise
    run.finish()


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".work", dir=out.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _explained(settings: TrainingSettings, log: EpochLog | None = None) -> Iterator[None]:
    """Turn what Ultralytics and torch raise into TrainingFailed.

    Args:
        log: of the epochs, once they have begun.
    """
    try:
        yield
    except ActverseError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = str(error)
        where = f"in epoch {log.epochs_done + 1} of {settings.epochs}" if log else "at its start"
        # CUDA's words, and those of torch's allocator on a CPU.
        memory = ("out of memory", "cannot allocate memory", "can't allocate memory")
        if isinstance(error, MemoryError) or any(words in text.lower() for words in memory):
            raise TrainingFailed(
                f"The memory did not suffice {where} with batch {settings.batch} and imgsz "
                f"{settings.imgsz}: lower one of them."
            ) from error
        if log and "nan" in text.lower():
            raise diverged(log.epochs_done + 1, settings) from error
        raise TrainingFailed(
            f"The training broke {where} ({type(error).__name__}: {text}): see its log."
        ) from error
