"""Which output of a model answers for which class of a dataset: by name, never by position alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detzoo.errors import DataError
from detzoo.recipes.class_matching import NameMatches, match_names
from detzoo.runtime.near_names import near_names


@dataclass(frozen=True)
class ClassMap:
    """From a model's labels to a dataset's category ids.

    Args:
        category_of: category id by model label; None where the dataset has no such class, or the output is unused.
        unmapped: names of model outputs whose detections are left out.
        warnings: what was assumed.
    """

    category_of: tuple[int | None, ...]
    unmapped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def map_classes(model: Sequence[str | None], names: Sequence[str], category_ids: Sequence[int]) -> ClassMap:
    """Match a model's outputs to a dataset's classes.

    Args:
        model: names by label; None for unused outputs.
        names: the dataset's classes.
        category_ids: its ids, in the same order.

    Raises:
        DataError: the dataset has a class that the model cannot name.
    """
    if len(model) and all(name is None for name in model):  # weights without names: only their order can be trusted
        return by_position(model, names, category_ids)
    found = match_names(names, model)
    missing = [name for name, place in zip(names, found.places, strict=True) if place is None]
    if missing:  # an unanswerable class would count as AP 0
        raise DataError(mismatch(model, names, missing, found))
    category_of: list[int | None] = [None] * len(model)
    for place, category in zip(found.places, category_ids, strict=True):
        assert place is not None
        category_of[place] = category
    unmapped = tuple(n for n, c in zip(model, category_of, strict=True) if n is not None and c is None)
    warnings: list[str] = []
    if unmapped:
        outputs = sum(name is not None for name in model)
        warnings.append(
            f"{len(unmapped)} of the model's {outputs} classes are not in the dataset; "
            f"their detections are left out ({listed(unmapped)})"
        )
    if found.respelled:
        pairs = listed([f"{known!r} for {name!r}" for name, known in found.respelled])
        warnings.append(f"class names are spelled differently; the model's output is taken: {pairs}")
    return ClassMap(tuple(category_of), unmapped, tuple(warnings))


def by_position(model: Sequence[str | None], names: Sequence[str], category_ids: Sequence[int]) -> ClassMap:
    """A model without any names is taken at its word where the number of classes agrees."""
    if len(model) != len(names):
        raise DataError(
            f"the model has {len(model)} classes without names, the dataset has {len(names)} ({listed(names)}); "
            "build it with classes=[...], or train it on this dataset"
        )
    warning = f"the model's classes have no names; they are taken in the dataset's order ({listed(names)})"
    return ClassMap(tuple(category_ids), (), (warning,))


def mismatch(model: Sequence[str | None], names: Sequence[str], missing: Sequence[str], found: NameMatches) -> str:
    """Why a model cannot be scored on a dataset, with the nearest names."""
    if found.unclear:
        name, several = found.unclear[0]
        return (
            f"the dataset's class {name!r} is spelled differently in the model, and could be any of {listed(several)}: "
            "rename the classes in the dataset's yaml, so that they are equal"
        )
    known = [name for name in model if name is not None]
    near = [(name, near_names(name, known, most=1)) for name in missing]
    absent = [f"{name} (near: {close[0]})" if close else name for name, close in near]
    return (
        f"the model's class names differ from the dataset's: it has no output for {listed(absent)}. "
        f"Model: {listed(known)}. Dataset: {listed(names)}. "
        "Use a detector trained on these classes, or rename the classes in the dataset's yaml"
    )


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first few names, and how many more."""
    more = f", ... {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def class_names(ground_truth: Mapping[str, Any]) -> dict[int, str]:
    """Category id -> name, distinguished by id where two are the same, as results.json does."""
    pairs = [(int(c["id"]), str(c["name"])) for c in ground_truth["categories"]]
    names = [name for _, name in pairs]
    return {i: name if names.count(name) == 1 else f"{name} ({i})" for i, name in pairs}
