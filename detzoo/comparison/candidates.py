"""The rows that a comparison is to have: one per target, or one per seed of a recipe that is trained here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from detzoo.comparison.recorded import is_trained_here
from detzoo.comparison.row_names import numbered, unique_names
from detzoo.errors import DetzooError
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.whole_numbers import whole_number
from detzoo.training.options import KEPT, LARGEST_SEED, TrainOptions

if TYPE_CHECKING:
    from detzoo.comparison.plan import ComparisonPlan


MOST_SEEDS: Final = 1000


@dataclass(frozen=True)
class Candidate:
    """A row that is to be filled.

    Args:
        name: in tables, and of its folder; unique.
        target: a detector, or results.
        training: how it is trained; None where it is not trained here.
        seed: told in messages where a target is trained with several; None where it is not.
        recipe: its target's name in tables, the same for all of its trainings.
        fraction: of the training images that it learns from.
        ranked: whether it is a row of the table; trainings on fewer images are points of a curve alone.
    """

    name: str
    target: str
    training: TrainOptions | None = None
    seed: int | None = None
    recipe: str = ""
    fraction: float = 1.0
    ranked: bool = True

    @property
    def label(self) -> str:
        """For messages: the target as it was given, and which of its trainings."""
        which = [] if self.fraction == 1 else [f"{self.fraction:g} of the images"]
        which += [] if self.seed is None else [f"seed {self.seed}"]
        return f"{self.target} ({', '.join(which)})" if which else self.target


def candidates_of(plan: ComparisonPlan) -> list[Candidate]:
    """All rows of a comparison, in the order of the targets.

    Raises:
        DetzooError: ``seeds`` is none, or nothing is trained.
        RecipeError: the recipe of a detector that is trained here cannot be read.
    """
    found: list[Candidate] = []
    names = unique_names(plan.targets)
    taken = set(names)
    for name, target in zip(names, plan.targets, strict=True):
        if not (plan.train and is_trained_here(target)):
            found.append(Candidate(name, target))
        elif plan.seeds is None and not plan.fractions:
            found.append(Candidate(name, target, plan.training))
        else:
            found += trainings_of(plan, target, name, taken)
    return found


def trainings_of(plan: ComparisonPlan, target: str, name: str, taken: set[str]) -> list[Candidate]:
    """All trainings of a target, by part of the images and seed; their names are added to ``taken``."""
    found = []
    for fraction in sorted(plan.fractions) or [1.0]:
        for seed in [None] if plan.seeds is None else seeds_of(plan, target):
            own = name if fraction == 1 else f"{name}-part{fraction:g}"
            own = own if seed is None else f"{own}-seed{seed}"
            own = own if own == name else numbered(own, taken)
            taken.add(own)
            training = plan.training if seed is None else dataclasses.replace(plan.training, seed=seed)
            ranked = fraction == max(plan.fractions, default=1.0)
            found.append(Candidate(own, target, training, seed, name, fraction, ranked))
    return found


def seeds_of(plan: ComparisonPlan, target: str) -> Sequence[int]:
    """The seeds that a target is trained with: those given, or so many from its first one on."""
    if not isinstance(plan.seeds, int):
        return plan.seeds or ()
    first = plan.training.seed
    if first is None:
        first = int(load_recipe(target, list(plan.overrides)).values["train"]["seed"])
    return range(first, first + plan.seeds)


def check_seeds(plan: ComparisonPlan) -> None:
    """Complain of seeds that cannot be trained with.

    Raises:
        DetzooError: there are such, or nothing is to be trained.
    """
    if plan.seeds is None:
        return
    if not plan.train:
        raise DetzooError("--seeds says how often --train trains each detector; add --train, or leave it out")
    if isinstance(plan.seeds, int) and plan.seeds > MOST_SEEDS:
        raise DetzooError(
            f"--seeds {plan.seeds}: a number of seeds, at most {MOST_SEEDS}; --seed {plan.seeds} is the seed of one"
        )
    listed = () if isinstance(plan.seeds, int) else tuple(plan.seeds)
    if isinstance(plan.seeds, int) and plan.seeds < 1:
        raise DetzooError(f"--seeds {plan.seeds}: at least one is needed; --seeds 3 trains three, --seeds 0,4,7 these")
    if listed and plan.training.seed is not None:
        raise DetzooError("give either --seed or a list of --seeds, not both; --seeds 3 counts up from --seed")
    for seed in listed:
        if not 0 <= seed <= LARGEST_SEED:
            raise DetzooError(f"--seeds: {seed} is out of range; 0 to {LARGEST_SEED} is allowed")
        if listed.count(seed) > 1:
            raise DetzooError(f"--seeds: {seed} is given twice; each seed makes one training")


def check_trainings(plan: ComparisonPlan) -> None:
    """Complain of seeds, or of parts of the images, that cannot be trained with.

    Raises:
        DetzooError: there are such, or nothing is to be trained.
    """
    check_seeds(plan)
    check_fractions(plan)
    if plan.fraction_budget not in KEPT:
        raise DetzooError(f"--fraction-budget {plan.fraction_budget} is unknown; allowed: {', '.join(KEPT)}")


def check_fractions(plan: ComparisonPlan) -> None:
    """Complain of parts of the images that cannot be trained on.

    Raises:
        DetzooError: there are such, or nothing is to be trained.
    """
    if plan.fractions and not plan.train:
        raise DetzooError("--fractions are parts of the images that --train trains on; add --train, or leave them out")
    for fraction in plan.fractions:
        if not 0 < fraction <= 1:
            raise DetzooError(
                f"--fractions: {fraction:g} is out of range; above 0 and at most 1 is allowed, as 0.1,0.3,1"
            )
        if list(plan.fractions).count(fraction) > 1:
            raise DetzooError(f"--fractions: {fraction:g} is given twice; each makes one training per seed")


def read_fractions(text: str | None) -> tuple[float, ...]:
    """``0.1,0.3,1``.

    Raises:
        DetzooError: these are no numbers.
    """
    try:
        return () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DetzooError(f"--fractions {text}: expected parts of the training images, as 0.1,0.3,1") from None


def read_seeds(text: str | None) -> int | tuple[int, ...] | None:
    """``3`` is a number of seeds, ``0,4,7`` are the seeds themselves.

    Raises:
        DetzooError: it is neither.
    """
    if text is None:
        return None
    numbers = [whole_number(part.strip(), digits=19) for part in text.split(",")]
    known = tuple(number for number in numbers if number is not None)
    if len(known) < len(numbers):
        raise DetzooError(f"--seeds {text}: expected a number of seeds, as 3, or seeds with commas, as 0,4,7")
    return known[0] if len(known) == 1 else known
