"""Evaluation between epochs: the curve, the best weights, and when to stop."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

from detzoo.training import rng
from detzoo.training.stage_run import StageRun
from detzoo.training.task import Evaluated
from detzoo.weights.checkpoint import BEST


def end_epoch(running: StageRun, steps_done: int, rate: float) -> str:
    """Evaluate where it is due, note the curve, keep the best weights.

    Args:
        running: the stage, whose state still counts this epoch as open.
        steps_done: optimiser steps in this epoch.
        rate: last learning rate.

    Returns:
        a line about it.
    """
    state, task = running.state, running.run.task
    epoch = state.base_epoch + state.epoch + 1
    row: dict[str, Any] = {"epoch": epoch, "step": state.base_step + state.step}
    means = {name: total / max(1, steps_done) for name, total in state.sums.items()}
    row |= {"loss": math.fsum(means.values()), "lr": rate}
    row |= dict.fromkeys(task.curve) | {f"loss_{name}": value for name, value in means.items()}
    scores: dict[str, float] = {}
    if is_due(running):
        found = evaluate_now(running)
        scores = _scores(running, found)
        row |= scores
        _judge(running, found, epoch)
    elif not task.evaluates and running.run.main:
        task.keep(running.run.out, None)
    running.log.epoch(row, running.network)
    shown = _words(scores)
    best = f"  (best {state.best:.1%}, epoch {state.best_epoch})" if state.best is not None and shown else ""
    return f"epoch {epoch} of {state.base_epoch + running.settings.epochs}  loss {row['loss']:.4f}{shown}{best}"


def end_fitting(running: StageRun) -> None:
    """After a last stage that was no gradient descent: its numbers, as a row of the curve, and its weights as the best.

    What came before was another detector, without the parts that have just been fitted, whatever it scored.
    """
    state = running.state
    if not running.run.task.evaluates:
        return
    state.best = None
    found = evaluate_now(running)
    scores, epoch = _scores(running, found), state.base_epoch
    _judge(running, found, epoch)
    running.log.epoch({"epoch": epoch, "step": state.base_step, "loss": None, "lr": None, **scores}, running.network)
    running.say(f"after {running.stage.name}:{_words(scores)}")


def is_due(running: StageRun) -> bool:
    """Whether the epoch that ends now is evaluated; the last one of a stage always is."""
    if not running.run.task.evaluates or not running.stage.evaluate:
        return False
    done = running.state.epoch + 1
    # the last epoch always: a run needs a result
    return done % running.plan.eval_every == 0 or done >= running.settings.epochs


def evaluate_now(running: StageRun) -> Evaluated:
    """Numbers of the present weights, of their average where there is one. Training does not notice."""
    run = running.run
    averaged = running.ema.applied(running.network) if running.ema is not None else nullcontext()
    with rng.untouched(running.device), averaged:  # an evaluation more or less does not change the training
        found = run.task.evaluate(
            batch=max(1, min(running.settings.part, 32)),
            precision=running.settings.precision,
            workers=run.options.loading_processes,
        )
        if running.log.shows_images:
            running.log.images(run.task.drawn_predictions(), running.state.base_step + running.state.step)
    running.state.metrics = dict(found.metrics)
    return found


def _scores(running: StageRun, found: Evaluated) -> dict[str, float]:
    """The metrics of the curve."""
    task = running.run.task
    names = [*task.curve, *(name for name in task.extra_curve if name in found.metrics)]
    return {name: found.metrics[name] for name in names}


def _words(scores: dict[str, float]) -> str:
    return "".join(f"  {name.replace('_', ' ')} {value:.1%}" for name, value in scores.items())


def _judge(running: StageRun, found: Evaluated, epoch: int) -> None:
    state, run = running.state, running.run
    value = found.metrics.get(run.task.metric, math.nan)
    if math.isnan(value) or (state.best is not None and value <= state.best):  # <=: of equal ones the earlier is kept
        state.worse += 1
        return
    state.best, state.best_epoch, state.worse = value, epoch, 0
    if run.main:
        run.task.keep(run.out, found)
    running.save_weights(BEST)


def should_stop(running: StageRun) -> bool:
    """Whether patience has run out."""
    return running.plan.patience is not None and running.state.worse >= running.plan.patience
