"""One combination tried for real: built, trained one step, predicted with."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
import traceback
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import torch

from detzoo.builder import build
from detzoo.errors import DetzooError
from detzoo.matrix.combinations import Combination, Start, no_place, starts
from detzoo.matrix.outcome import Status, TrialOutcome
from detzoo.prediction.prepare import collate
from detzoo.recipes.recipe import load_recipe
from detzoo.recipes.small_values import small_overrides
from detzoo.testing.specimens import total
from detzoo.testing.trial import propose_anywhere, sample_for

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

NUM_CLASSES: Final = 3
TINY: Final = (128, 128)


def try_combination(combination: Combination) -> TrialOutcome:
    """The first start that works, or that breaks; else why the nearest one is refused."""
    first = None
    began = time.monotonic()
    for start in starts(combination):
        outcome = try_start(combination, start)
        first = outcome if outcome.status != "refused" else first or outcome
        if outcome.status != "refused":
            break
    outcome = first or TrialOutcome("refused", no_place(combination))
    return dataclasses.replace(outcome, seconds=round(time.monotonic() - began, 2))


def try_start(combination: Combination, start: Start) -> TrialOutcome:
    """One combination from one start."""
    recipe = start.frame.recipe
    status, reason = attempt(recipe, (*made_small(recipe), *start.overrides(combination)))
    return TrialOutcome(status, reason, recipe, start.carry)


@cache
def made_small(recipe: str) -> tuple[str, ...]:
    """Overrides that make a recipe quick: the tiny input, or its own where its layers need one; small values."""
    values = load_recipe(recipe).values
    few = small_overrides(values)
    stretched = (
        "input.resize=stretch",
        "input.min_size=null",
        "input.max_size=null",
        "input.pad_multiple=1",
        "input.short_side=scaled",
    )
    tiny = (*few, *stretched, f"input.size={json.dumps(TINY)}")
    own = values["input"]["size"]
    return tiny if own is None or _takes(recipe, tiny) else tuple(few)


def _takes(recipe: str, overrides: Sequence[str]) -> bool:
    """Whether a recipe's layers take the input that overrides name: it is built and predicts."""
    try:
        detector = _built(recipe, overrides)
        propose_anywhere(detector, 20)
        detector.predict([sample_for(detector, "mixed boxes", 0).image], channels="rgb")
    except Exception:
        return False
    return True


def attempt(recipe: str, overrides: Sequence[str]) -> tuple[Status, str]:
    """Build a recipe with overrides, without pretrained weights, train it one step and predict with it."""
    try:
        detector = _built(recipe, overrides)
    except DetzooError as error:
        return "refused", _message(error)
    except Exception as error:
        return "broken", f"build: {_crash(error)}"
    try:
        wrong = _exercise(detector)
    except DetzooError as error:
        wrong = f"after the build: {_message(error)}"
    except Exception as error:
        wrong = f"after the build: {_crash(error)}"
    return "broken" if wrong else "works", wrong


def _built(recipe: str, overrides: Sequence[str]) -> Detector:
    torch.manual_seed(0)
    return build(recipe, num_classes=NUM_CLASSES, overrides=list(overrides), weights=None)


def _exercise(detector: Detector) -> str:
    """One training step and one prediction; what is wrong with them, or nothing."""
    propose_anywhere(detector, 20)
    images = [sample_for(detector, "mixed boxes", seed) for seed in range(2)]
    batch, targets = collate(images, detector.input)
    detector.train()
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=1e-4)
    loss: Any = total(detector(batch, targets))
    if not math.isfinite(float(loss.detach())):
        return f"the loss is {float(loss.detach())}"
    loss.backward()
    optimizer.step()
    lowest = None if detector.settings().score_threshold is None else 0.0
    (found,) = detector.predict([images[0].image], score_threshold=lowest, channels="rgb")
    if not bool(torch.isfinite(found.boxes).all() and torch.isfinite(found.scores).all()):
        return "predictions are not finite"
    return ""


def _message(error: DetzooError) -> str:
    """The first line of a user's message, without file and line, and without what else is installed."""
    line = re.sub(r"^.*?: detectors\.[^.:]+(\.|: )", "", str(error).partition("\n")[0])
    return line.partition("; given by ")[0]  # the table shows what goes, and stays true beside other plugins


def _crash(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]} ({place.name})"


__all__ = ["try_combination", "try_start"]
