"""Many trainings: grids of overrides, worked off one after another, over several devices or over a Ray cluster."""

from __future__ import annotations

from detzoo.experiments.job import Job, Outcome, train_run
from detzoo.experiments.sweep import SweepPlan, SweepResult, sweep

__all__ = ["Job", "Outcome", "SweepPlan", "SweepResult", "sweep", "train_run"]
