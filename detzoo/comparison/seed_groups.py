"""Which rows of a comparison are one recipe, trained with several seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry

NOT_TRAINING: Final = ("reported", "summary", "paper")
"""Keys of a recipe that do not change what is trained."""


def training_fact(
    recipe: Mapping[str, Any], settings: Mapping[str, Any] | None, name: str | None = None
) -> dict[str, Any] | None:
    """The seed of a training and a digest of everything else that decides it; None where its seed is not known.

    Args:
        recipe: values of the recipe.
        settings: of the run (``training.run.RunSettings``: seed, epochs, batch, data ...); None where the recipe alone
            is known, whose own seed is then taken.
        name: of the recipe, where it is known: by it the trainings are called together.
    """
    plan = recipe.get("train")
    if not isinstance(plan, Mapping):
        return None
    seed = plan.get("seed") if settings is None else settings.get("seed")
    if type(seed) is not int:
        return None
    values = {key: value for key, value in recipe.items() if key not in NOT_TRAINING}
    values["train"] = {key: value for key, value in plan.items() if key != "seed"}
    others = (
        None if settings is None else {key: value for key, value in settings.items() if key not in left_out(settings)}
    )
    text = json.dumps([values, others], sort_keys=True, default=str)
    fact = {"seed": seed, "recipe": hashlib.sha256(text.encode()).hexdigest()[:16]}
    return fact if name is None else fact | {"name": name}


def left_out(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What may differ between the seeds of one recipe: of runs of the same minutes, how many steps fill them."""
    return ("seed",) if settings.get("minutes") is None else ("seed", "steps", "epochs")


@dataclass(frozen=True)
class SeedGroup:
    """Rows that are one recipe.

    Args:
        name: of the recipe, or of the only row.
        rows: their numbers, by seed.
        seeds: of the trainings; empty for a row that stands alone.
    """

    name: str
    rows: tuple[int, ...]
    seeds: tuple[int, ...] = ()


def seed_groups(entries: Sequence[ComparisonEntry], rows: Sequence[int]) -> tuple[list[SeedGroup], list[str]]:
    """Rows by recipe, and what was left out.

    Args:
        entries: of the comparison.
        rows: those of them that can be compared.

    Returns:
        the groups, those with one row among them, and a note for each row that repeats a seed: it is no other training,
        and is left out.
    """
    by_recipe: dict[str, dict[int, int]] = {}
    notes = []
    for row in rows:
        training = entries[row].training
        alone = training is None
        key = f"row {row}" if training is None else str(training["recipe"])
        seed = row if training is None else int(training["seed"])
        there = by_recipe.setdefault(key, {})
        if not alone and seed in there:
            first = entries[there[seed]].name
            notes.append(f"{entries[row].name}: the recipe and the seed ({seed}) of {first}; not another training")
            continue
        there[seed] = row
    groups = []
    for found in by_recipe.values():
        ordered = tuple(sorted(found))
        members = tuple(found[seed] for seed in ordered)
        several = len(members) > 1
        name = recipe_name(entries[members[0]]) if several else entries[members[0]].name
        groups.append(SeedGroup(name, members, ordered if several else ()))
    return with_own_names(groups), notes


def recipe_name(entry: ComparisonEntry) -> str:
    """What the recipe of its training is called, else the detector itself, else the row."""
    known = (entry.training or {}).get("name")
    return str(known or entry.results.get("model", {}).get("name") or entry.name)


def with_own_names(groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """Groups of one name are numbered."""
    names: list[str] = []
    for group in groups:
        name, number = group.name, 2
        while name in names:
            name, number = f"{group.name}-{number}", number + 1
        names.append(name)
    return [SeedGroup(name, group.rows, group.seeds) for name, group in zip(names, groups, strict=True)]


def is_training_fact(value: Any) -> bool:
    """Whether a value of a file is what ``training_fact`` makes, or nothing."""
    if value is None:
        return True
    named = isinstance(value, dict) and isinstance(value.get("name", ""), str)
    return named and type(value.get("seed")) is int and isinstance(value.get("recipe"), str)
