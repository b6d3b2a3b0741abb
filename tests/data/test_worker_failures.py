"""Loading processes that are killed, stopped or reject something: one message, the same as without them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any, cast

import numpy as np
import pytest

from detzoo.data.loading.loader import Loader
from detzoo.data.loading.worker_failures import WorkerError, worker_failure
from detzoo.data.shapes import ShapesDataset
from detzoo.errors import DataError, DetzooError, MachineError
from detzoo.interfaces import Draw, Transform
from detzoo.prediction.input_spec import InputSpec
from detzoo.types import Sample

SPEC = InputSpec(size=(32, 32))


class Send(Transform):
    """Sends a signal to the process that it runs in."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        assert multiprocessing.parent_process() is not None  # a worker's, never the tests' own
        os.kill(os.getpid(), self.number)
        return sample


class Raise(Transform):
    """Raises an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        raise self.error


def loader(*transforms: Transform, workers: int = 1, **options: Any) -> Loader:
    return Loader(ShapesDataset(count=4, size=64), transforms, SPEC, 2, workers=workers, **options)


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, ("Killed", "memory")), (signal.SIGBUS, ("Bus error", "/dev/shm"))]
)
def test_a_killed_worker_is_told_with_its_cause(number: int, words: tuple[str, str]) -> None:
    with pytest.raises(WorkerError) as caught:
        list(loader(Send(number)).batches())
    assert all(word in str(caught.value) for word in ("pid", "--workers", *words))
    assert caught.value.exit_code == 1


def test_a_stopped_worker_is_named_within_the_limit_and_not_left_behind() -> None:
    made = loader(Send(signal.SIGSTOP), timeout=1)
    with pytest.raises(WorkerError) as caught:
        list(made.batches())
    workers = cast("Any", made._loader._iterator)._workers
    assert all(word in str(caught.value) for word in ("within 1 s", "--worker-timeout", f"process {workers[0].pid} is"))
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


@pytest.mark.parametrize("error", [DataError("a.jpg: no such class"), MachineError("no memory")])
def test_what_a_worker_rejects_is_the_same_message_as_without_workers(error: DetzooError) -> None:
    for workers in (0, 1):
        with pytest.raises(type(error)) as caught:
            list(loader(Raise(error), workers=workers).batches())
        assert str(caught.value) == str(error)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_machine_that_fails_in_a_worker(workers: int) -> None:
    with pytest.raises(MachineError, match="not enough memory"):
        list(loader(Raise(MemoryError()), workers=workers).batches())


def test_a_bug_in_a_worker_keeps_its_traceback() -> None:
    with pytest.raises(KeyError, match="Traceback"):
        list(loader(Raise(KeyError("x"))).batches())


def test_other_errors_say_nothing_of_a_worker() -> None:
    assert worker_failure(RuntimeError("shapes differ")) is None
