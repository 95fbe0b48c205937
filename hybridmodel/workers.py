"""Jobs on processes of one thread each, so that results do not depend on how many there are."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

import torch

Report = Callable[[str, Mapping[str, Any]], None]  # (stage, what happened)

_messages: Any = None


def _start_worker(messages: Any) -> None:
    global _messages
    _messages = messages
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _be_ready() -> None:
    """Nothing; a worker that has run it has imported this module."""


def tell(what: str) -> Callable[[Mapping[str, float]], None]:
    """A callable for `fit(progress=…)` in a worker: its rows reach the report under this name."""

    def send(row: Mapping[str, float]) -> None:
        if _messages is not None:
            _messages.put((what, dict(row)))

    return send


class Pool(ProcessPoolExecutor):
    """Workers, and the queue on which they tell how far they are."""

    messages: Any


@contextmanager
def handling(number: signal.Signals, handler: Any) -> Iterator[None]:
    """A signal is handled so meanwhile; in other threads than the main one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def deaf() -> AbstractContextManager[None]:
    """Processes that begin meanwhile never hear Ctrl-C: the one that began them ends them."""
    return handling(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """So many workers, ended with the block."""
    context = get_context("spawn")
    messages = context.Queue()
    with Pool(workers, context, _start_worker, (messages,)) as made:
        made.messages = messages
        with deaf():
            for _ in range(workers):
                made.submit(_be_ready)  # all import everything now, while one logs the plant
        try:
            yield made
        except BaseException:
            running = list((made._processes or {}).values())  # shutdown forgets them
            # what is still to be sent finds no reader, and must not be waited for
            made._call_queue.cancel_join_thread()  # type: ignore[attr-defined]
            made.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()  # or leaving the block would wait for what they do
            raise


def finished(
    jobs: Mapping[Future, Any], messages: Any, report: Report
) -> Iterator[tuple[Any, Any]]:
    """(result, name) of each job in the order of submission, passing messages on meanwhile."""
    for job, name in jobs.items():
        while not wait([job], timeout=0.1).done:
            while not messages.empty():
                what, row = messages.get()
                report("fit", {"row": what, **row})
        yield job.result(), name
