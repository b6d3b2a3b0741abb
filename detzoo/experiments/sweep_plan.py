"""What a sweep is to try; free of torch, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from detzoo.experiments.places import Places
from detzoo.training.options import TrainCommand


@dataclass(frozen=True, kw_only=True)
class SweepPlan(TrainCommand, Places):
    """What is to be tried, and how; the rest as ``TrainCommand``, for every run, and as ``Places``.

    Args:
        out: Folder of the sweep; an interrupted one goes on, a larger grid adds runs.
        overrides: key=a,b,c; may be repeated: every combination is a run.
        val_split: Split that ranks the runs. By default val, valid, validation or test.
    """

    overrides: tuple[str, ...]
