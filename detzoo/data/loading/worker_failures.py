"""Loading processes that were killed or stopped: one message in place of torch's, and no process left behind."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from detzoo.errors import MachineError

T = TypeVar("T")
_ENDED: Final = re.compile(r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) (?P<how>.*)", re.DOTALL)
_LATE: Final = re.compile(r"DataLoader timed out after (?P<seconds>[\d.]+) seconds")
_ADVICE: Final = {
    "Killed": "the system kills processes where memory is short: give fewer --workers or a smaller --batch",
    "Bus error": "shared memory (/dev/shm) is full: make it larger, or give fewer --workers",
    "Segmentation fault": "a library that reads images crashed: `detzoo data check` finds the file",
}


class WorkerError(MachineError):
    """A loading process was killed, or has given nothing for too long."""


def worker_failure(error: Exception, workers: Sequence[Any] = ()) -> str | None:
    """What happened to a loading process; None for an error that says nothing of one.

    torch raises them wherever the main process is at that moment, as a RuntimeError with a text.

    Args:
        error: torch's.
        workers: the loading processes, where they are at hand: their exit codes say more than the text.
    """
    ended = _ENDED.search(str(error))
    if ended is None:
        return None
    told = re.search(r"killed by signal: ([\w ]+)", ended["how"])
    signals = [signal.strsignal(-worker.exitcode) for worker in workers if (worker.exitcode or 0) < 0]
    by = str(signals[0]) if signals else told[1].strip() if told else ""
    how = f"was ended by a signal ({by})" if by else "ended before its time"
    advice = _ADVICE.get(by, "memory may be short: give fewer --workers")
    return f"a process that loads images (pid {ended['pid'].strip()}) {how}; {advice}"


def batches_of(loader: DataLoader[Any]) -> Iterator[Any]:
    """What a loader gives.

    Args:
        loader: with its limit of time, if any; ``--worker-timeout`` on the command line.

    Raises:
        WorkerError: a loading process was killed, or none gave anything within the limit; those that are left are
            killed then, for one that is stopped does not answer to less.
    """
    iterator = iter(loader)
    try:
        yield from iterator
    except (RuntimeError, ConnectionError, EOFError) as error:
        late = _LATE.search(str(error))
        told = _late(float(late["seconds"]), iterator) if late else worker_failure(error, _workers(iterator))
        if told is None and not isinstance(error, RuntimeError):
            told = _broken_connection(iterator)
        if told is None:
            raise
        raise WorkerError(told) from None


def _broken_connection(iterator: Any) -> str | None:
    """A process that dies while it hands a batch over breaks the connection, before torch notices its death."""
    workers = _workers(iterator)
    deadline = time.monotonic() + 60  # on a busy machine a killed process takes long to be gone
    while all(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    dead = [worker for worker in workers if not worker.is_alive()]
    if not dead:
        return None
    # else torch would report the death once more, wherever the main process is by then
    signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
    iterator._worker_pids_set = False
    pids = ", ".join(str(worker.pid) for worker in dead)
    return worker_failure(RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly"), dead)


def _workers(iterator: Any) -> list[Any]:
    """The loading processes of torch's iterator; none where the main process loads."""
    return cast("list[Any]", iterator._workers) if iterator._num_workers else []


def _late(seconds: float, iterator: Any) -> str:
    workers = _workers(iterator)
    stopped = [str(worker.pid) for worker in workers if _is_stopped(worker.pid)]
    # else torch would report the kills below, somewhere later
    signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
    iterator._worker_pids_set = False
    for worker in workers:
        worker.kill()
    who = ", ".join(str(worker.pid) for worker in workers)
    why = f"process {', '.join(stopped)} is stopped" if stopped else "a disk or an image may be very slow"
    return (
        f"the processes that load images (pid {who}) gave no batch within {seconds:g} s (--worker-timeout): {why}; "
        "they were ended. Give a longer --worker-timeout where this is no fault"
    )


def _is_stopped(process: int) -> bool:
    """Whether somebody sent SIGSTOP, as far as the system tells."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or gone
        return False
    return text.rpartition(")")[2].split()[0] in ("T", "t")
