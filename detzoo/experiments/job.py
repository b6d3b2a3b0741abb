"""One training as plain values, which travel to another process or machine, and what came of it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from detzoo.errors import DetzooError

if TYPE_CHECKING:
    from detzoo.training import RunSummary

State: TypeAlias = Literal["waiting", "running", "done", "failed", "stopped"]
CURVE: Final = "curve.csv"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How something is trained: what one run and all runs of a sweep have in common.

    Args:
        target: a recipe's name or file.
        data: as ``open_dataset`` takes it.
        train_split: to learn from; ``train``, else the only one, where it is None.
        val_split: evaluated after each epoch, which ranks a sweep; the first of val, valid, validation and test where
            it is None, nothing where it is ``none``.
        weights: ``backbone``, ``published``, ``none`` or a file.
        seed: instead of the recipe's.
        epochs: instead of the recipe's length.
        steps: the same in optimiser steps.
        batch: images a step.
        accumulate: parts of a step.
        precision: fp32, bf16 or fp16.
        workers: processes that load images, for each run.
    """

    target: str
    data: str
    train_split: str | None = None
    val_split: str | None = None
    weights: str = "backbone"
    seed: int | None = None
    epochs: int | None = None
    steps: int | None = None
    batch: int | None = None
    accumulate: int | None = None
    precision: str = "fp32"
    workers: int | None = None

    def options(self) -> dict[str, Any]:
        """All but target and data, as ``train_target`` takes them."""
        own = [field.name for field in dataclasses.fields(Training) if field.name not in ("target", "data")]
        return {name: getattr(self, name) for name in own}


@dataclass(frozen=True, kw_only=True)
class Job(Training):
    """One run, and where it goes; the rest as ``Training``.

    Args:
        name: in tables.
        run: run folder; a run that is there already goes on.
        overrides: ``key=value`` of the recipe.
        folder: from which relative paths count.
    """

    name: str
    run: Path
    overrides: tuple[str, ...] = ()
    folder: Path = dataclasses.field(default_factory=Path.cwd)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The job of ``as_dict``."""
        typed = {"run": Path(values["run"]), "folder": Path(values["folder"]), "overrides": tuple(values["overrides"])}
        return cls(**{**values, **typed})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended.

    Args:
        name: of the job.
        state: ``done``; ``failed``, with the reason in ``why``; ``stopped``, to be gone on with.
        why: one message, or empty.
        device: where it ran.
        AP: on the val split, of the best epoch; None without one.
        AP50: of the same epoch.
        best_epoch: which that was.
        epochs: passes over the data.
        steps: optimiser steps.
        seconds: spent training, over all resumes.
    """

    name: str
    state: State
    why: str = ""
    device: str | None = None
    AP: float | None = None
    AP50: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None


def train_run(job: Job, *, device: str | None = None, progress: bool = True) -> RunSummary:
    """Train what is missing of a job's run, in this process.

    Args:
        job: what and where.
        device: None takes the best there is.
        progress: show it on stderr.

    Raises:
        DetzooError: it cannot start or go on.
        Interrupted: a KeyboardInterrupt: a signal came; a checkpoint was written.
    """
    from detzoo.training.train_command import train_target

    return train_target(
        job.target,
        job.data,
        job.run,
        overrides=job.overrides,
        resume=True,
        device=device,
        progress=progress,
        **job.options(),
    )


def attempt(job: Job, device: str | None) -> Outcome:
    """Train in a process that is there for nothing else: whatever goes wrong is told, not raised."""
    os.chdir(job.folder)
    try:
        with locked(job.run):
            summary = train_run(job, device=device)
    except KeyboardInterrupt:
        return Outcome(name=job.name, state="stopped", device=device)
    except DetzooError as error:
        return Outcome(name=job.name, state="failed", why=str(error), device=device)
    except Exception as error:  # the other runs go on, whatever it was; the log has the whole of it
        traceback.print_exc()
        return Outcome(name=job.name, state="failed", why=reason(error, device), device=device)
    rows = curve_rows(job.run)
    best = next((row for row in rows if row["epoch"] == str(summary.best_epoch) and row.get("AP")), {})
    return Outcome(
        name=job.name,
        state="done",
        device=device,
        AP=summary.best,
        AP50=float(best["AP50"]) if best.get("AP50") else None,
        best_epoch=summary.best_epoch,
        epochs=summary.epochs,
        steps=summary.steps,
        seconds=summary.seconds,
    )


def reason(error: Exception, device: str | None) -> str:
    """One message for what no message was written for."""
    text = str(error).strip().partition("\n")[0]
    kind = type(error).__name__
    if "OutOfMemory" in kind or isinstance(error, MemoryError) or "can't allocate memory" in text:
        where = f" on {device}" if device else ""
        return f"out of memory{where}; a smaller --batch, --accumulate, or --precision bf16 needs less ({text})"
    return f"{kind}: {text}" if text else kind


def curve_rows(run: Path) -> list[dict[str, str]]:
    """A run's curve, a row an epoch; empty before the first."""
    try:
        with (run / CURVE).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """One process at a time works on a run: a sweep that was killed may have left one that is still writing.

    Waits. The lock goes with the process that holds it. Where the system has no such locks, nothing is locked.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    with run.with_name(f".{run.name}.lock").open("w") as file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
