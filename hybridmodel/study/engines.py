"""What carries jobs out: processes of this machine, or a Dask cluster.

An engine is a callable that opens an executor; any `concurrent.futures.Executor` will do:

    processes(2)                     spawned, one thread each, so that numbers do not depend on them
    dask(2), dask(address="tcp://…") `dask.distributed`, a local cluster or a running scheduler
    Inline                           this process, one after the other: to look into a cell
    lambda: loky.get_reusable_executor(2)   by the same argument any other
    waited(submitit.AutoExecutor(…), 100)   one whose jobs have result() and no more
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import parent_process
from typing import Any

from hybridmodel.study.dispatch import Engine


class Inline(Executor):
    """Runs a job where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def processes(workers: int) -> Engine:
    """So many processes, started anew wherever one has died."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    from hybridmodel.workers import pool

    if parent_process() is not None:
        raise RuntimeError(
            "processes: workers import the script that starts them, and this is one of them; put "
            'what starts a study under `if __name__ == "__main__":`'
        )
    return lambda: pool(workers)


def waited(executor: Any, workers: int) -> Engine:
    """An executor whose `submit(f, …)` gives something with `result()`, as submitit's on Slurm."""

    @contextmanager
    def opened() -> Iterator[Executor]:
        made = _Waited(executor, 2 * workers)
        try:
            yield made
        except BaseException:
            made.shutdown(wait=False, cancel_futures=True)
            raise
        made.shutdown()

    return opened


class _Waited(Executor):
    def __init__(self, inner: Any, threads: int) -> None:
        self._inner, self._threads = inner, ThreadPoolExecutor(threads)
        self._out: dict[int, Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._result, fn, *args, **kwargs)

    def _result(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        job = self._inner.submit(fn, *args, **kwargs)
        self._out[id(job)] = job
        try:
            return job.result()
        finally:
            del self._out[id(job)]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With `cancel_futures` what is queued, too, of jobs that know how to be cancelled."""
        if cancel_futures:
            for job in tuple(self._out.values()):
                getattr(job, "cancel", lambda: None)()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


def dask(workers: int = 2, *, address: str | None = None) -> Engine:
    """A running scheduler at `address`, or a cluster of `workers` processes on this machine.

    Raises ImportError without dask.distributed, ValueError where no scheduler answers.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ImportError(
            "a cluster needs dask.distributed: pip install hybridmodel[cluster]"
        ) from error
    if address is not None:
        try:
            Client(address).close()
        except (OSError, ValueError) as error:
            raise ValueError(f"address: no scheduler answers at {address}: {error}") from error

    def opened() -> AbstractContextManager[Executor]:
        return _client(workers, address)

    return opened


@contextmanager
def _client(workers: int, address: str | None) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    from hybridmodel.workers import deaf

    if address is not None:
        with Client(address) as client:
            yield client.get_executor(pure=False)
        return
    with ExitStack() as stack:
        with deaf():
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        yield client.get_executor(pure=False)
