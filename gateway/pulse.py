"""The proof that a worker works: its own errand comes back to it through broker and pool.

A thread that only says that its process lives says so too while no work is taken any more. So
the worker sends itself an errand, which its pool takes as it takes a step, and which begins a
child process as a step does. Whatever else is done proves it as well; while nothing is, for
``worker_silence`` seconds, the worker shows no sign of life, and is restarted.
"""

import logging
import threading
import time

from celery import Celery
from kombu import Exchange
from kombu import Queue as KombuQueue

from components.errors import ActverseError
from components.fork_server import ForkServer, do_nothing
from gateway.celery_app import PROBE

logger = logging.getLogger("actverse.pulse")

_EVERY = 6
"""How many errands there are to a silence."""


class Pulse(threading.Thread):
    """Sends the errands of one worker, and knows when something was done last.

    Args:
        node: the worker's whole Celery name; its errands have a queue of that name.
        server: forks a child for each errand, where the worker runs steps.
        silence: seconds.
    """

    def __init__(
        self, celery: Celery, node: str, server: ForkServer | None, silence: float
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._celery, self._server, self._silence = celery, server, silence
        self.queue = errand_queue(node, silence)
        self._stopping = threading.Event()
        self._seen = self._sent = -float("inf")

    def beat(self) -> None:
        """Something was done."""
        self._seen = time.monotonic()

    def works(self) -> bool:
        """Whether something was done lately."""
        return time.monotonic() - self._seen < self._silence

    def probe(self) -> None:
        """Be the errand."""
        if self._server is not None:
            self._server.call(do_nothing, {})
        self.beat()

    def run(self) -> None:
        """Send errands until ``stop``."""
        worked = False
        while True:
            if self._idle_for() > self._silence / _EVERY:
                self._send()
            if self._stopping.wait(self._silence / _EVERY):
                return
            if worked and not self.works():
                logger.error("nothing was done here for %g s: the worker is deaf", self._silence)
            elif not worked and self.works():
                logger.info("the worker works")
            worked = self.works()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()

    def _idle_for(self) -> float:
        """The seconds since anything was done, or was sent to be done."""
        return time.monotonic() - max(self._seen, self._sent)

    def _send(self) -> None:
        self._sent = time.monotonic()
        try:
            self._celery.send_task(
                PROBE,
                queue=self.queue,
                expires=self._silence,
                ignore_result=True,
                retry=False,
            )
        except Exception:  # noqa: BLE001 (each transport has errors of its own)
            # No fault of the worker's, which waits for its broker; it is to be ready then.
            try:
                self.probe()
            except ActverseError as error:
                logger.warning("no child process could be had: %s", error)


def errand_queue(node: str, silence: float) -> KombuQueue:
    """The queue of a worker's own errands; RabbitMQ forgets it some time after the worker."""
    name = f"{node}-errands"
    return KombuQueue(
        name,
        Exchange("actverse.errands", type="direct"),
        routing_key=name,
        expires=max(10 * silence, 60.0),
    )
