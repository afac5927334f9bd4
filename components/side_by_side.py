"""Many transfers at a time, their progress told by the thread that asked for them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

from components.steps import Progress

_PROGRESS_BYTES = 2**20

Moved = Callable[[int], None]
"""Takes note of bytes moved; negative where a transfer begins some of them anew."""


class Stopped(Exception):
    """Ends a transfer that nobody waits for any more."""


def run_side_by_side(
    jobs: Iterable[Callable[[Moved], None]], *, total: int, progress: Progress, threads: int
) -> None:
    """Run all jobs; the first error stops the others and is raised.

    Args:
        jobs: each is given a Moved to tell its bytes to, from any thread.
        total: bytes of all jobs.
        progress: told in the calling thread, of growing numbers that end at ``total``.
            When it raises, the jobs are stopped, and that is raised.
        threads: how many jobs may run at a time.
    """
    news: SimpleQueue[int | Future[None]] = SimpleQueue()
    stopped = Event()

    def moved(count: int) -> None:
        if stopped.is_set():
            raise Stopped
        news.put(count)

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(job, moved) for job in jobs]
        for future in futures:
            future.add_done_callback(news.put)
        try:
            running, done, told = len(futures), 0, 0
            while running:
                one = news.get()
                if isinstance(one, Future):
                    one.result()
                    running -= 1
                else:
                    done += one
                    if done - told >= _PROGRESS_BYTES and done < total:
                        told = done
                        progress(done, total)
            progress(total, total)
        except BaseException:
            stopped.set()
            for future in futures:
                future.cancel()
            raise
