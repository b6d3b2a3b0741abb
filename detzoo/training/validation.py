"""Evaluation between epochs: the curve, the best weights, and when to stop."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from detzoo.training import rng
from detzoo.training.run import Run
from detzoo.weights.checkpoint import BEST

if TYPE_CHECKING:
    from detzoo.evaluation import Evaluation


def end_epoch(run: Run, steps_done: int, rate: float) -> None:
    """Evaluate where it is due, note the curve, keep the best weights.

    Args:
        run: whose state still counts this epoch as open.
        steps_done: optimiser steps in this epoch.
        rate: last learning rate.
    """
    state = run.state
    epoch = state.base_epoch + state.epoch + 1
    row: dict[str, Any] = {"epoch": epoch, "step": state.base_step + state.step}
    means = {name: total / max(1, steps_done) for name, total in state.sums.items()}
    row |= {"loss": math.fsum(means.values()), "lr": rate}
    row |= {"AP": None, "AP50": None} | {f"loss_{name}": value for name, value in means.items()}
    if is_due(run):
        found = evaluate_now(run)
        run.metrics = dict(found.metrics)
        row |= {name: run.metrics.get(name) for name in ("AP", "AP50")}
        row |= {name: run.metrics[name] for name in ("mask_AP", "mask_AP50") if name in run.metrics}
        _judge(run, found, epoch)
    run.log.epoch(row, run.detector)
    scores = f"  AP {row['AP']:.4f}  AP50 {row['AP50']:.4f}" if row["AP"] is not None else ""
    if row.get("mask_AP") is not None:
        scores += f"  mask AP {row['mask_AP']:.4f}  mask AP50 {row['mask_AP50']:.4f}"
    best = f"  (best {state.best:.4f}, epoch {state.best_epoch})" if state.best is not None and scores else ""
    run.display.say(f"epoch {epoch} of {state.base_epoch + run.settings.epochs}  loss {row['loss']:.4f}{scores}{best}")


def end_fitting(run: Run) -> None:
    """After a last stage that was no gradient descent: its numbers, as a row of the curve, and its weights as the best.

    What came before was another detector, without the parts that have just been fitted, whatever it scored.
    """
    state = run.state
    if run.val is None or len(run.val) == 0:
        return
    state.best = None
    found = evaluate_now(run)
    run.metrics = dict(found.metrics)
    epoch = state.base_epoch
    _judge(run, found, epoch)
    scores = {name: run.metrics.get(name) for name in ("AP", "AP50")}
    run.log.epoch({"epoch": epoch, "step": state.base_step, "loss": None, "lr": None, **scores}, run.detector)
    run.say(f"after {run.stage.name}:  AP {scores['AP']:.4f}  AP50 {scores['AP50']:.4f}")


def is_due(run: Run) -> bool:
    """Whether the epoch that ends now is evaluated; the last one of a stage always is."""
    if run.val is None or len(run.val) == 0 or not run.stage.evaluate:
        return False
    done = run.state.epoch + 1
    return done % run.plan.eval_every == 0 or done >= run.settings.epochs


def evaluate_now(run: Run) -> Evaluation:
    """Numbers of the present weights, of their average where there is one. Training does not notice."""
    from detzoo.evaluation import evaluate

    assert run.val is not None
    averaged = run.ema.applied(run.detector) if run.ema is not None else nullcontext()
    with rng.untouched(run.device), averaged:
        return evaluate(
            run.detector,
            run.val,
            batch=max(1, min(run.settings.part, 32)),
            precision=run.settings.precision,
            workers=max(1, run.workers),
            progress=False,
        )


def _judge(run: Run, found: Evaluation, epoch: int) -> None:
    state, value = run.state, found.metrics.get("AP", math.nan)
    if math.isnan(value) or (state.best is not None and value <= state.best):
        state.worse += 1
        return
    state.best, state.best_epoch, state.worse = value, epoch, 0
    if run.main:
        found.write(run.out)
    run.save_weights(BEST)


def should_stop(run: Run) -> bool:
    """Whether patience has run out."""
    return run.plan.patience is not None and run.state.worse >= run.plan.patience
