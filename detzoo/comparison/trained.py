"""How long a row's detector was trained, as its run has recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detzoo.errors import WeightsError
from detzoo.training.log import read_curve
from detzoo.training.run import state_of
from detzoo.weights.checkpoint import LAST, load_checkpoint


@dataclass(frozen=True)
class Trained:
    """The training behind a row; None for what is not recorded.

    Args:
        epochs: passes over the data.
        minutes: spent training, over all resumes.
        note: what else has to be known, or nothing.
    """

    epochs: int | None = None
    minutes: float | None = None
    note: str = ""


def trained_facts(run: Path | None) -> Trained:
    """Of a run folder: from its last checkpoint, else from its curve, which knows no time."""
    if run is None:
        return Trained()
    try:
        saved = load_checkpoint(run / LAST, parts=())  # the header alone: no tensors are read
        state = state_of(saved, run / LAST)
    except WeightsError:
        return Trained(epochs_of_curve(run))
    epochs = state.base_epoch + state.epoch
    chosen = "" if state.best_epoch is None else f"; its best epoch is {state.best_epoch}"
    note = f"training stopped after epoch {epochs}, before its end{chosen}" if not state.complete else ""
    return Trained(epochs, state.seconds / 60, note)


def epochs_of_curve(run: Path) -> int | None:
    """The last epoch that the curve has."""
    epochs = [row.get("epoch") or "" for row in read_curve(run)]
    return max((int(epoch) for epoch in epochs if epoch.isdecimal()), default=None)
