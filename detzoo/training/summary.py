"""What a finished run says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RunSummary:
    """The end of a run.

    Args:
        out: run folder.
        steps: optimiser steps, over all stages.
        epochs: passes over the data, over all stages.
        best: best value of ``metric`` on the validation data, or None without any.
        best_epoch: when it was reached.
        metric: AP; top1 of a pretraining.
        metrics: of the last evaluation.
        seconds: spent training, over all resumes.
        broken: images that could not be read and were skipped, by path.
        stopped_early: whether patience ran out.
    """

    out: Path
    steps: int
    epochs: int
    best: float | None
    best_epoch: int | None
    metric: str = "AP"
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    broken: tuple[str, ...] = ()
    stopped_early: bool = False

    def __str__(self) -> str:
        reached = "" if self.best is None else f", best {self.metric} {self.best:.1%} in epoch {self.best_epoch}"
        early = " (stopped early)" if self.stopped_early else ""
        skipped = f", {len(self.broken)} broken images skipped" if self.broken else ""
        told = f"{self.out}: {self.steps} steps, {self.epochs} epochs{early}{reached}{skipped}, {self.seconds:.0f} s"
        if self.best == 0:
            told += f"; {self.metric} is 0: it has learned nothing yet, train for more epochs or look at the data"
        return told
