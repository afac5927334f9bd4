"""Steps in child processes of their own, as their worker sees them.

The worker holds the lease; the child works. It is ended when the lease is gone, as of a task
that was cancelled, when it has used more than its limits, or when the worker stops. However it
ends is written down here where it could not do it itself.
"""

import logging
import math
import time
from collections.abc import Callable

from components.child_process import ChildEnded, End, Limit, Limits
from components.errors import StepFailed, Unavailable
from components.fork_server import ForkServer
from components.serving.leftovers import remove_abandoned
from components.settings import Settings
from gateway.flows import STEPS
from gateway.leases import LeaseLost, lose_lease
from gateway.models import Step
from gateway.runner import Ended, Outcome, StepRunner, backoff
from gateway.step_child import run_step

logger = logging.getLogger("actverse.steps")

STOP_SECONDS = 10.0
"""What a step may take to its end once the worker is told to stop."""


class StepProcesses:
    """Runs the steps that a worker has claimed, each in a child.

    Args:
        server: forks the children.
        works: called again and again while a step is watched, by the thread that watches it.
    """

    def __init__(
        self,
        settings: Settings,
        runner: StepRunner,
        server: ForkServer,
        works: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._server = server
        self._works = works
        self._stop_at = math.inf

    def stop(self) -> None:
        """Leave the steps that run to another attempt, unless they end within a few seconds."""
        self._stop_at = time.monotonic() + STOP_SECONDS

    def run(self, step: Step, holder: str, limits: Limits) -> Ended:
        """Run a step that ``holder`` has claimed; every outcome is stored."""
        with self._runner.lease_kept(step, holder) as lost:

            def look() -> None:
                self._works()
                if lost.is_set():
                    raise LeaseLost("Its lease is gone.")
                if time.monotonic() > self._stop_at:
                    raise Unavailable("The worker is being stopped; the step goes on afterwards.")

            arguments = {"step_id": step.id, "name": step.name, "holder": holder}
            try:
                told = self._server.call(run_step, arguments, limits=limits, look=look)
            except LeaseLost:
                remove_abandoned()
                self._runner.forget(step)
                return Ended(Outcome.LOST)
            except ChildEnded as error:
                return self._without_answer(step, holder, limits, error.end, str(error))
            except Unavailable as error:
                return self._runner.fail(step, holder, error, again_in=0.0)
        return Ended(Outcome(told["outcome"]), float(told["again_in"]))

    def _without_answer(
        self, step: Step, holder: str, limits: Limits, end: End, told: str
    ) -> Ended:
        about = {"task_id": step.task_id, "step": step.name, "attempt": step.attempt}
        logger.error("the process of a step gave no answer: %s", told, extra=about)
        remove_abandoned()
        try:
            if end.limit is not None:
                sentence = self._sentence(step.name, limits, end.limit)
                return self._runner.fail(step, holder, StepFailed(sentence))
            again_in = backoff(step)
            with self._runner.sessions.begin() as session:
                lose_lease(session, step.id, holder)
        except LeaseLost:
            # It had ended before its process did, or somebody else has it.
            return Ended(Outcome.LOST)
        return Ended(Outcome.RETRIED, again_in)

    def _sentence(self, name: str, limits: Limits, limit: Limit) -> str:
        plan = STEPS.get(name)
        foreign = plan is not None and plan.foreign
        if limit is Limit.PROCESSES:
            return (
                f"The step {name} started more than {limits.processes:g} processes and was ended: "
                "read the worker's log."
            )
        variable = f"ACTVERSE_{'IMPORT' if foreign else 'STEP'}_"
        if limit is Limit.MEMORY:
            return (
                f"The step {name} needs more memory than the {limits.memory / 2**20:.0f} MiB that "
                f"it may use: give smaller files, or raise {variable}MEMORY."
            )
        if name == "download" and limits.seconds > self._settings.download_timeout:
            variable = "ACTVERSE_DOWNLOAD_"
        less = "give a smaller model" if foreign else "give a shorter video"
        return (
            f"The step {name} took longer than {limits.seconds:g} s: {less}, or raise "
            f"{variable}TIMEOUT."
        )
