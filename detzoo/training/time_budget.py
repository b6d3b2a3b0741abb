"""``--minutes``: how many steps fill a time, so that the schedule is complete when the time is over.

The rate is measured on the real loop: a copy of the network is trained for some steps in a folder that is then
deleted, and evaluated on some images. The number of steps that follows is recorded in the run, which is from there on a
run of so many steps: resumed, it is never planned again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detzoo.errors import TrainingError

FIRST_STEPS: Final = 6
"""Of the first look at the rate."""
NOT_COUNTED: Final = 2
"""Steps at the start of a rehearsal: memory is allocated, loading begins, kernels are chosen."""
SHARE: Final = 0.04
"""Of the time, for a closer look."""
MOST_STEPS: Final = 200
MOST_IMAGES: Final = 64
"""Images that are evaluated to time it."""


@dataclass(frozen=True)
class Pace:
    """What a rehearsal has measured.

    Args:
        step: seconds of an optimiser step.
        epoch: seconds at the end of an epoch, for the checkpoint.
        evaluation: seconds of an evaluation on the whole val split; 0 without one.
        steps: that were timed.
        start: seconds that the first steps took longer than others: memory, loading, compiling.
    """

    step: float
    epoch: float
    evaluation: float
    steps: int
    start: float = 0.0


def pace_of(times: Sequence[float], whole: float, epochs: int, evaluation: float) -> Pace:
    """The pace of a rehearsal.

    Args:
        times: seconds of each step, in order.
        whole: seconds of the rehearsal.
        epochs: that it had.
        evaluation: see ``Pace``.
    """
    begun = min(NOT_COUNTED, len(times) - 1)
    counted = times[begun:]
    step = sum(counted) / len(counted)
    start = max(0.0, sum(times[:begun]) - begun * step)
    return Pace(step, max(0.0, whole - sum(times)) / epochs, evaluation, len(counted), start)


def duration(steps: int, pace: Pace, per_epoch: int, eval_every: int) -> float:
    """Seconds of a training; its last epoch is always evaluated.

    Args:
        steps: of the training.
        pace: measured.
        per_epoch: steps of an epoch.
        eval_every: epochs between evaluations.
    """
    epochs = -(-steps // per_epoch)
    return pace.start + steps * pace.step + epochs * pace.epoch + -(-epochs // eval_every) * pace.evaluation


def steps_within(seconds: float, pace: Pace, per_epoch: int, eval_every: int) -> int:
    """The most steps whose training takes no longer; 0 where one step does.

    Args:
        seconds: that are left.
        pace: measured.
        per_epoch: steps of an epoch.
        eval_every: epochs between evaluations.
    """
    low, high = 0, max(1, math.ceil(seconds / pace.step))
    while low < high:
        middle = (low + high + 1) // 2
        if duration(middle, pace, per_epoch, eval_every) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low


def closer_look(seconds: float, pace: Pace) -> int:
    """Steps of a second rehearsal; 0 where the first was long enough for the time that there is."""
    steps = min(MOST_STEPS, int(SHARE * seconds / pace.step))
    return steps if steps >= 2 * FIRST_STEPS else 0


def pace_words(minutes: float, pace: Pace, steps: int, per_epoch: int) -> str:
    """What was measured and planned, for the first lines of a training."""
    evaluation = f", {pace.evaluation:.2g} s per evaluation" if pace.evaluation else ""
    epochs = -(-steps // per_epoch)
    return (
        f"{minutes:g} minutes: {pace.step:.3g} s per step over {pace.steps} steps{evaluation}, so {steps} steps "
        f"({epochs} epoch{'s' if epochs > 1 else ''}), with the schedule at its end"
    )


def check_fits(minutes: float, steps: int, pace: Pace) -> None:
    """Complain of a time in which nothing is learned.

    Raises:
        TrainingError: not even one step and its evaluation fit.
    """
    if steps < 1:
        needed = (pace.start + pace.step + pace.epoch + pace.evaluation) / 60
        raise TrainingError(
            f"{minutes:g} minutes are too short: after measuring, one step with its evaluation takes {needed:.2g} "
            "minutes more; give more --minutes, or --steps"
        )
