"""``detzoo train`` without its options: what is opened, built and trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.data.formats.source import VALIDATION_SPLITS
from detzoo.weights.checkpoint import LAST

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.training.summary import RunSummary

EVALUATED: Final = (*VALIDATION_SPLITS, "test")
"""Names of splits that are not trained on; the first that exists is evaluated during training."""


def train_target(
    target: str,
    data: str,
    out: Path,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    overrides: Sequence[str] = (),
    weights: str = "backbone",
    seed: int | None = None,
    resume: bool = False,
    **options: Any,
) -> RunSummary:
    """Open the data, build the detector for its classes, train.

    Args:
        target: a recipe's name or file.
        data: a dataset, as ``open_dataset`` takes it.
        out: run folder.
        train_split: split to learn from; ``train`` where there is one, else the only one.
        val_split: split to evaluate on; ``val``, ``valid``, ``validation`` or ``test`` where there is one, else none;
            the word ``none`` evaluates nothing.
        overrides: ``key=value`` of the recipe.
        weights: ``backbone``, ``published``, ``none`` or a file.
        seed: of initial weights and of the run; the recipe's own by default.
        resume: go on with the run in ``out``.
        options: see ``detzoo.train``.
    """
    from detzoo.builder import build_resolved
    from detzoo.recipes.recipe import load_recipe
    from detzoo.training import rng
    from detzoo.training.trainer import train

    dataset, val = open_splits(data, train_split, val_split)
    recipe = load_recipe(target, list(overrides))
    chosen = recipe.values["train"]["seed"] if seed is None else seed
    rng.seed_everything(chosen)
    going_on = resume and (out / LAST).is_file()
    detector = build_resolved(
        recipe, classes=dataset.classes, weights=None if going_on or weights == "none" else weights
    )
    return train(detector, dataset, out, val=val, seed=chosen, resume=resume, **options)


def open_splits(data: str, train_split: str | None, val_split: str | None) -> tuple[Dataset, Dataset | None]:
    """The data to learn from, and the data to evaluate on where there is some."""
    from detzoo.data import list_splits, open_dataset

    names = list_splits(data)
    learned = train_split or ("train" if "train" in names else None)
    dataset = open_dataset(data, learned)
    if val_split == "none" and "none" not in names:
        return dataset, None
    if val_split is None:
        others = [name for name in EVALUATED if name in names and name not in (learned or "").split("+")]
        val_split = others[0] if others else None
    return dataset, None if val_split is None else open_dataset(data, val_split)
