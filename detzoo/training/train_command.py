"""``detzoo train`` without its options: what is opened, built and trained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from detzoo.builder import build_resolved
from detzoo.data import list_splits, open_dataset
from detzoo.data.formats.split_names import role_of, with_role
from detzoo.data.hold_out import hold_out
from detzoo.data.nested_subsets import nested_subset
from detzoo.errors import DataError
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.device import pick_device
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.training import rng
from detzoo.training.detection_task import DetectionTask
from detzoo.training.options import TrainCommand
from detzoo.training.run import run_settings
from detzoo.training.summary import RunSummary
from detzoo.training.trainer import reject_existing, train_task
from detzoo.weights.checkpoint import LAST

if TYPE_CHECKING:
    from detzoo.data import Dataset


def train_target(command: TrainCommand) -> RunSummary:
    """Read the recipe, open the data, build the detector for its classes, train."""
    recipe = load_recipe(command.target, list(command.overrides))  # a wrong name is told before the data are read
    pick_device(command.device)
    reject_existing(command.out, resume=command.resume)  # and a folder that is taken before weights are fetched
    dataset, val = open_splits(command.data, command.train_split, command.val_split)
    seed = recipe.values["train"]["seed"] if command.seed is None else command.seed
    rng.seed_everything(seed)  # before the detector is built: its head starts at random
    going_on = command.resume and is_ordinary(command.out / LAST)
    detector = build_resolved(
        recipe,
        classes=dataset.classes,
        weights=None if going_on or command.weights == "none" else command.weights,  # a resume overwrites them anyway
    )
    options = dataclasses.replace(command.options, seed=seed)
    task = DetectionTask(detector, dataset, val)
    if command.fraction is not None and command.fraction < 1:
        part = nested_subset(dataset, command.fraction, command.subset_seed)
        if command.fraction_budget == "steps" and command.minutes is None:
            options = dataclasses.replace(options, epochs=None, steps=run_settings(task, options, 1).steps)
        task = DetectionTask(detector, part, val)
    return train_task(task, command.out, options)


def open_splits(data: str, train_split: str | None, val_split: str | None) -> tuple[Dataset, Dataset | None]:
    """The data to learn from, and the data to choose the best epoch by.

    A split called after validation chooses, else a part of the training images that is held out; never a test split,
    unless it is named. ``none`` and too few images leave nothing to choose by.

    Raises:
        DataError: several splits could be meant.
    """
    names = list_splits(data)
    learned = train_split or _train_split(data, names)
    if val_split == "none" and "none" not in names:
        return open_dataset(data, learned), None
    if val_split is None:
        others = [name for name in with_role(names, "val") if name not in learned.split("+")]
        if len(others) > 1 and role_of(others[0]) != others[0]:
            raise DataError(
                f"{data}: choose the split that selects the best epoch with --val-split: {', '.join(others)}"
            )
        val_split = others[0] if others else None
    dataset = open_dataset(data, learned)
    if val_split is not None:
        return dataset, open_dataset(data, val_split)
    parts = hold_out(dataset)
    return parts if parts is not None else (dataset, None)


def _train_split(data: str, names: tuple[str, ...]) -> str:
    found = with_role(names, "train")
    if len(names) == 1 or "train" in names or len(found) == 1:
        return "train" if "train" in names else (found or names)[0]
    known = ", ".join(names)
    raise DataError(f"{data}: choose the split to train on with --train-split: {known}; a+b joins two")
