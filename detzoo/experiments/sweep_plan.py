"""What a sweep tries; imports no torch, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from detzoo.experiments.places import Places
from detzoo.training.options import TrainCommand


@dataclass(frozen=True, kw_only=True)
class SweepPlan(TrainCommand, Places):
    """The grid of a sweep, plus ``TrainCommand`` for every run and ``Places``.

    Args:
        out: Output folder; an interrupted sweep resumes from it, a larger grid adds runs.
        overrides: key=a,b,c; may be repeated: one run per combination.
        val_split: Split that ranks the runs. By default val, valid, validation or dev, else a tenth of the training
            images that is held out.
    """

    overrides: tuple[str, ...]
