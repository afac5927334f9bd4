"""What is noted after each epoch of a training."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from components.errors import TrainingFailed
from components.steps import Progress
from components.training.metric_names import clean_metrics, held_out_metrics
from components.training.settings import TrainingSettings

if TYPE_CHECKING:
    from components.training.mlflow_run import MlflowRun


def diverged(epoch: int, settings: TrainingSettings) -> TrainingFailed:
    """The error for a loss that is no number any more."""
    return TrainingFailed(
        f"The loss was not a finite number in epoch {epoch}: set lr0 below {settings.lr0:g} and "
        "train again."
    )


class EpochLog:
    """Ultralytics' call-backs that note each epoch, and what they have noted.

    Attributes:
        epochs_done: epochs that ran to their end.
        best_epoch: the one whose model is kept, from 1; 0 before the first.
    """

    def __init__(
        self, settings: TrainingSettings, run: "MlflowRun | None", progress: Progress
    ) -> None:
        self.epochs_done = 0
        self.best_epoch = 0
        self._settings = settings
        self._run = run
        self._progress = progress
        self._trained = False
        self._started = time.monotonic()

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        """The call-backs by the event they belong to."""
        return {
            "on_train_start": self._on_train_start,
            "on_train_epoch_end": self._on_train_epoch_end,
            "on_fit_epoch_end": self._on_fit_epoch_end,
        }

    def _on_train_start(self, trainer: Any) -> None:
        self._started = time.monotonic()

    def _on_train_epoch_end(self, trainer: Any) -> None:
        self._trained = True

    def _on_fit_epoch_end(self, trainer: Any) -> None:
        # The final evaluation calls this once more, without an epoch before it.
        if not self._trained:
            return
        self._trained = False
        epoch = trainer.epoch + 1
        # Later on Ultralytics itself goes back to the last good weights, and gives up at last.
        if not bool(trainer.loss.isfinite()):
            raise diverged(epoch, self._settings)
        self.epochs_done = epoch
        if trainer.fitness == trainer.best_fitness:
            self.best_epoch = epoch
        figures = {**trainer.label_loss_items(trainer.tloss), **trainer.metrics, **trainer.lr}
        if self._run:
            self._run.log_epoch(clean_metrics(figures), epoch)
        self._progress(
            epoch,
            trainer.epochs,
            epoch=epoch,
            epochs=trainer.epochs,
            metrics=held_out_metrics(trainer.metrics),
        )
        limit = self._settings.time_limit
        if limit and time.monotonic() - self._started > limit:
            trainer.stop = True
