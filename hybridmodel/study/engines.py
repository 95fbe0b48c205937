"""What carries jobs out: processes of this machine, or a Dask cluster.

An engine is a callable that opens an executor; any `concurrent.futures.Executor` will do:

    processes(2)                     spawned, one thread each, so that numbers do not depend on them
    dask(2), dask(address="tcp://…") `dask.distributed`, a local cluster or a running scheduler
    Inline                           this process, one after the other: to look into a cell
    lambda: SlurmExecutor(…)         by the same argument submitit's, loky's, an MPI pool
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hybridmodel.study.jobs import Engine


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

    return lambda: pool(workers)


def dask(workers: int = 2, *, address: str | None = None) -> Engine:
    """A running scheduler at `address`, or a cluster of `workers` processes on this machine.

    Raises ImportError without dask.distributed.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            "a cluster needs dask.distributed: pip install hybridmodel[cluster]"
        ) from error

    def opened() -> AbstractContextManager[Executor]:
        return _client(workers, address)

    return opened


@contextmanager
def _client(workers: int, address: str | None) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    if address is not None:
        with Client(address) as client:
            yield client.get_executor(pure=False)
        return
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)
