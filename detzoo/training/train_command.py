"""``detzoo train`` without its options: what is opened, built and trained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from detzoo.builder import build_resolved
from detzoo.data import list_splits, open_dataset
from detzoo.data.formats.source import VALIDATION_SPLITS
from detzoo.recipes.recipe import load_recipe
from detzoo.training import rng
from detzoo.training.detection_task import DetectionTask
from detzoo.training.options import TrainCommand
from detzoo.training.summary import RunSummary
from detzoo.training.trainer import train_task
from detzoo.weights.checkpoint import LAST

if TYPE_CHECKING:
    from detzoo.data import Dataset

EVALUATED: Final = (*VALIDATION_SPLITS, "test")
"""Names of splits that are not trained on; the first that exists is evaluated during training."""


def train_target(command: TrainCommand) -> RunSummary:
    """Open the data, build the detector for its classes, train."""
    dataset, val = open_splits(command.data, command.train_split, command.val_split)
    recipe = load_recipe(command.target, list(command.overrides))
    seed = recipe.values["train"]["seed"] if command.seed is None else command.seed
    rng.seed_everything(seed)  # before the detector is built: its head starts at random
    going_on = command.resume and (command.out / LAST).is_file()
    detector = build_resolved(
        recipe,
        classes=dataset.classes,
        weights=None if going_on or command.weights == "none" else command.weights,  # a resume overwrites them anyway
    )
    options = dataclasses.replace(command.options, seed=seed)
    return train_task(DetectionTask(detector, dataset, val), command.out, options)


def open_splits(data: str, train_split: str | None, val_split: str | None) -> tuple[Dataset, Dataset | None]:
    """The data to learn from, and the data to evaluate on where there is some."""
    names = list_splits(data)
    learned = train_split or ("train" if "train" in names else None)
    dataset = open_dataset(data, learned)
    if val_split == "none" and "none" not in names:
        return dataset, None
    if val_split is None:
        others = [name for name in EVALUATED if name in names and name not in (learned or "").split("+")]
        val_split = others[0] if others else None
    return dataset, None if val_split is None else open_dataset(data, val_split)
