"""Learning-rate schedules as pure functions of the step, so that resuming needs no state.

``t`` is the number of optimiser steps already taken, ``T`` the length of the run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

from detzoo.training.plan import Schedule, TrainPlan

LONGEST_WARMUP: Final = 0.2
"""Warm-up takes at most this part of a run, so that a short trial still reaches its learning rate."""


def milestone_fractions(schedule: Schedule, plan: TrainPlan, steps_per_epoch: int, total: int) -> tuple[float, ...]:
    """Milestones as fractions of the run that the plan describes.

    Args:
        schedule: with milestones in its unit.
        plan: its length in epochs or steps is what the milestones were written for.
        steps_per_epoch: real optimiser steps of one pass over the data.
        total: real length of the run in steps; used where plan and milestones have different units.
    """
    if schedule.unit == "fraction":
        return schedule.milestones
    if schedule.unit == "epoch":
        length = plan.epochs if plan.epochs is not None else total / steps_per_epoch
    else:
        length = plan.steps if plan.steps is not None else total
    return tuple(m / length for m in schedule.milestones)


@dataclasses.dataclass(frozen=True)
class Rates:
    """The schedule of one run.

    Args:
        schedule: its settings.
        total: ``T``, steps of the run.
        drops: milestones in steps.
        warmup: steps of warm-up after the cap.
    """

    schedule: Schedule
    total: int
    drops: tuple[int, ...]
    warmup: int

    def factor(self, t: int) -> float:
        """What the base learning rate is multiplied by in step ``t``, the first being 0."""
        factor = _SHAPES[self.schedule.name](self, t)
        if t < self.warmup:
            start = self.schedule.warmup_factor
            factor *= start + (1.0 - start) * (t / self.warmup) ** self.schedule.warmup_power
        return factor


def rates(plan: TrainPlan, *, steps_per_epoch: int, total: int) -> Rates:
    """The schedule of a run of ``total`` steps."""
    schedule = plan.schedule
    fractions = milestone_fractions(schedule, plan, steps_per_epoch, total)
    # it rises itself
    warmup = 0 if schedule.name == "one_cycle" else min(schedule.warmup_steps, int(total * LONGEST_WARMUP))
    return Rates(schedule, total, tuple(round(f * total) for f in fractions), warmup)


def _step(rates: Rates, t: int) -> float:
    factors = rates.schedule.factors or (rates.schedule.gamma,) * len(rates.drops)
    return math.prod(factor for drop, factor in zip(rates.drops, factors, strict=True) if t >= drop)


def _cosine(rates: Rates, t: int) -> float:
    schedule = rates.schedule
    falling = rates.total * (1.0 - schedule.hold - schedule.plateau)
    part = (t - rates.total * schedule.hold) / falling
    return _half_wave(1.0, schedule.final_factor, min(1.0, max(0.0, part)))


def _poly(rates: Rates, t: int) -> float:
    final = rates.schedule.final_factor
    # max: rounding at the end
    return final + (1.0 - final) * math.pow(max(0.0, 1.0 - t / rates.total), rates.schedule.power)


def _one_cycle(rates: Rates, t: int) -> float:
    """Source: Smith, arXiv:1708.07120, as torch.optim.lr_scheduler.OneCycleLR with anneal_strategy="cos"."""
    schedule = rates.schedule
    # OneCycleLR counts from 0 and ends on the last step
    top, end = schedule.rise * rates.total - 1.0, rates.total - 1.0
    if t <= top:
        return _half_wave(schedule.start_factor, 1.0, t / top if top > 0 else 1.0)
    return _half_wave(1.0, schedule.final_factor, min(1.0, (t - max(top, 0.0)) / max(end - max(top, 0.0), 1.0)))


def _constant(rates: Rates, t: int) -> float:
    return 1.0


def _half_wave(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * part)) / 2.0


_SHAPES: Final[dict[str, Callable[[Rates, int], float]]] = {
    "step": _step,
    "cosine": _cosine,
    "poly": _poly,
    "one_cycle": _one_cycle,
    "constant": _constant,
}
