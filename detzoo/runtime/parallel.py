"""One job over many tasks in processes of their own: bounded, stopped at once, and never left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar, cast

from detzoo.errors import DetzooError, MachineError

T = TypeVar("T")
R = TypeVar("R")
_AHEAD: Final = 2  # tasks that lie with a worker, so that it need not wait for the next
_THREAD_COUNTS: Final = (
    ("torch", "OMP_NUM_THREADS"),
    ("numba", "NUMBA_NUM_THREADS"),  # rejects another number once it has started its threads
    ("numpy", "OPENBLAS_NUM_THREADS"),
    ("numpy", "MKL_NUM_THREADS"),
)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(job: Callable[[T], R], tasks: Iterable[T], workers: int) -> Generator[R, None, None]:
    """Results in the order in which they are done, a few tasks ahead of what was taken.

    A worker is one thread: libraries that count cores see one. Closing the iterator, or an exception, stops
    the workers in the middle of what they do; those whose parent was killed end by themselves.

    Args:
        job: called in the workers; what it needs travels with it, once.
        tasks: small values.
        workers: processes; 0 runs the job in this one.

    Raises:
        DetzooError: the job's own.
        MachineError: a worker was killed.
    """
    if workers == 0:
        yield from map(job, tasks)
        return
    context = multiprocessing.get_context()
    waiting = iter(tasks)
    crew: dict[Connection, Any] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(job, theirs, os.getpid()), daemon=True)
            process.start()
            theirs.close()  # else our own copy would keep the pipe open after the worker's death
            crew[ours] = process
        yield from _results(crew, waiting)
    finally:
        for process in crew.values():
            process.terminate()  # a task may take minutes
        for connection, process in crew.items():
            process.join()
            connection.close()


def _results(crew: dict[Connection, Any], waiting: Iterator[Any]) -> Generator[Any, None, None]:
    owed = dict.fromkeys(crew, 0)

    def feed(connection: Connection) -> None:
        for task in waiting:
            try:
                connection.send(task)
            except ConnectionError:
                raise MachineError(_died(crew[connection])) from None
            owed[connection] += 1
            return

    for _ in range(_AHEAD):
        for connection in crew:
            feed(connection)
    while busy := [connection for connection, count in owed.items() if count]:
        for connection in cast("list[Connection]", wait(busy)):
            try:
                fine, result = connection.recv()
            except (EOFError, ConnectionError):
                raise MachineError(_died(crew[connection])) from None
            owed[connection] -= 1
            if not fine:
                raise result
            feed(connection)
            yield result


def _died(process: Any) -> str:
    process.join()
    how = f"by signal {-process.exitcode}" if process.exitcode < 0 else f"with exit code {process.exitcode}"
    return (
        f"a worker process ended {how}, perhaps for lack of memory; finished work is kept: repeat the command, with "
        "fewer --workers"
    )


def _work(job: Callable[[Any], Any], connection: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _use_one_thread()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, job(task))
        except DetzooError as error:
            answer = (False, error)
        except Exception:
            answer = (False, RuntimeError(f"in a worker process:\n{traceback.format_exc()}"))
        connection.send(answer)


def _end_with(parent: int) -> None:
    """Siblings hold the pipe open, so that the end of a killed parent is not seen there."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)  # at once: the main thread is in the middle of a job


def _use_one_thread() -> None:
    """The processes are the parallelism. A library that is imported already no longer looks at the environment."""
    os.environ |= {name: "1" for module, name in _THREAD_COUNTS if module not in sys.modules}
    import cv2

    cv2.setNumThreads(0)  # 0: OpenCV's own pool off
    for module in ("torch", "numba"):
        if module in sys.modules:
            sys.modules[module].set_num_threads(1)
