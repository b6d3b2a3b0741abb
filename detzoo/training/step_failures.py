"""What can end a training in the middle of a step without being a bug: told with what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from detzoo.data.loading.worker_failures import WorkerError, worker_failure
from detzoo.errors import DiskError, MachineError, TrainingError
from detzoo.runtime.interrupts import Interrupted, Interrupts
from detzoo.runtime.machine_failures import machine_failure
from detzoo.training.run import Run

_ONE_VALUE: Final = "Expected more than 1 value per channel"  # torch.nn.functional.batch_norm


@contextmanager
def telling_failures(run: Run, interrupts: Interrupts) -> Iterator[None]:
    """How to go on after loading processes were killed, memory ran out, or a batch norm saw a single value.

    They end at any point of a step, so what is in memory may be half a step: the last checkpoint is what counts.

    Raises:
        Interrupted: a signal came, and ended the loading processes first.
        MachineError: a loading process is gone, memory is short, or the disk full.
        TrainingError: a batch norm cannot learn from one value.
    """
    try:
        yield
    except DiskError as error:
        raise DiskError(f"{error}, with --resume to go on from the last checkpoint in {run.out}") from None
    except (RuntimeError, ValueError, MemoryError, WorkerError) as error:
        if _ONE_VALUE in str(error):
            raise TrainingError(_one_value(run, error)) from None
        lost = str(error) if isinstance(error, WorkerError) else _lost_worker(error)
        if lost is not None and interrupts.wanted:  # a signal to the whole process group (timeout, a scheduler)
            raise Interrupted(
                "stopped by a signal that ended the loading processes too; "
                "repeat the command with --resume to continue from the last checkpoint"
            ) from None
        resume = f"Repeat the command with --resume to continue from the last checkpoint in {run.out}"
        if lost is not None:
            raise WorkerError(f"{lost}. {resume}") from None
        short = machine_failure(error)
        if short is not None:
            raise MachineError(
                f"{short}. A smaller --batch, or the same batch in more parts (--accumulate), needs less. {resume}"
            ) from error
        raise


def _lost_worker(error: Exception) -> str | None:
    return worker_failure(error) if isinstance(error, RuntimeError) else None


def _one_value(run: Run, error: Exception) -> str:
    settings = run.settings
    name = _norm_of(run.task.network, error)
    least = 2 * settings.accumulate * settings.processes
    images = settings.data["images"]
    more = (
        f"give --batch {least} or more" if images >= least else f"there are only {images} images; take {least} or more"
    )
    return (
        f"{run.task.name} cannot be trained with {settings.part} image in a step: the batch norm {name} sees a map of "
        f"1x1 there, and one value has no variance. For two images in each part of a step {more}; or choose a norm "
        "that does not learn from the batch, such as --set backbone.norm=frozen (in Python: overrides), for the "
        "part of the detector where it stands"
    )


def _norm_of(network: nn.Module, error: BaseException) -> str:
    """Name of the batch norm in whose call an error was raised."""
    names = {id(part): name for name, part in network.named_modules() if isinstance(part, _NormBase)}
    trace = error.__traceback__
    found = "of its last map"
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found
