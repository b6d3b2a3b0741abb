"""One training of several as plain values, which travel to another process or machine, and what came of it."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from detzoo.errors import DetzooError
from detzoo.runtime.folder_claim import wait_for_folder
from detzoo.training.log import read_curve
from detzoo.training.options import TrainCommand
from detzoo.training.train_command import train_target

if TYPE_CHECKING:
    from detzoo.training import RunSummary

State: TypeAlias = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training of several.

    Args:
        name: in tables.
        command: what is trained, and where its run goes; a run that is there already goes on.
        folder: from which relative paths count.
    """

    name: str
    command: TrainCommand
    folder: Path = dataclasses.field(default_factory=Path.cwd)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"name": self.name, "command": self.command.as_dict(), "folder": str(self.folder)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The job of ``as_dict``."""
        command = TrainCommand.from_dict(values["command"])
        return cls(name=values["name"], command=command, folder=Path(values["folder"]))


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
    return train_target(dataclasses.replace(job.command, resume=True, device=device, progress=progress))


def attempt(job: Job, device: str | None) -> Outcome:
    """Train in a process that is there for nothing else: every failure is reported, not raised."""
    os.chdir(job.folder)
    try:
        wait_for_folder(job.command.out)  # a sweep that was killed may have left a process that is still writing
        summary = train_run(job, device=device)
    except KeyboardInterrupt:
        return Outcome(name=job.name, state="stopped", device=device)
    except DetzooError as error:
        return Outcome(name=job.name, state="failed", why=str(error), device=device)
    except Exception as error:  # the other runs go on, whatever it was; the log has the whole of it
        traceback.print_exc()
        return Outcome(name=job.name, state="failed", why=reason(error, device), device=device)
    rows = read_curve(job.command.out)
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
