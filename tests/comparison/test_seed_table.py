"""Rows that are one recipe with several seeds: which they are, and the table over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detzoo.comparison.entry import ComparisonEntry
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.comparison.seed_groups import is_training_fact, seed_groups, training_fact
from detzoo.comparison.seed_table import seed_table
from detzoo.comparison.weights_facts import weights_facts
from detzoo.data import open_dataset
from detzoo.weights.checkpoint import LAST, Checkpoint, save_checkpoint
from tests.comparison.result_folders import found_in, write_results
from tests.comparison.test_ties import NOISE, entry

RECIPE: dict[str, Any] = {"head": {"type": "ssd"}, "train": {"seed": 0, "epochs": 3}, "reported": [1]}


def trained(name: str, ap: float, noise: int, recipe: str | None, seed: int = 0) -> ComparisonEntry:
    """A row of a recipe and a seed; its resamples lie around its AP."""
    own = entry(ap, ap + NOISE[noise])
    training = None if recipe is None else {"recipe": recipe, "seed": seed}
    results = {"model": {"name": recipe or name}}
    return ComparisonEntry(name, "x", results, {}, [], Path(), None, analysis=own.analysis, training=training)


def changed(**changes: Any) -> dict[str, Any]:
    return RECIPE | changes


def test_what_is_the_same_training_but_for_its_seed() -> None:
    first = training_fact(RECIPE, None)
    assert first is not None
    assert first["seed"] == 0
    other = training_fact(changed(train={"seed": 5, "epochs": 3}, reported=[]), None)
    assert other == first | {"seed": 5}
    assert training_fact(changed(train={"seed": 0, "epochs": 4}), None) != first
    settings = {"seed": 7, "epochs": 3, "data": {"name": "cells"}}
    of_run = training_fact(RECIPE, settings)
    assert of_run is not None
    assert of_run["seed"] == 7
    assert of_run["recipe"] != first["recipe"]  # more is known of it
    assert training_fact(RECIPE, settings | {"seed": 8}) == of_run | {"seed": 8}
    assert training_fact(RECIPE, settings | {"epochs": 4}) != of_run
    timed = training_fact(RECIPE, settings | {"minutes": 5, "steps": 100})
    assert timed == training_fact(RECIPE, settings | {"minutes": 5, "steps": 104, "epochs": 4})  # the same budget
    assert timed != training_fact(RECIPE, settings | {"minutes": 6, "steps": 100})
    assert training_fact({}, None) is None
    for plan in (None, {}, {"seed": None}, {"seed": True}):
        assert training_fact({"train": plan}, None) is None
    assert is_training_fact(None)
    assert is_training_fact(first)
    assert not any(is_training_fact(value) for value in ({}, {"seed": "1", "recipe": "a"}, 3))


def test_the_seed_of_a_run(tmp_path: Path) -> None:
    recipe, run = {"name": "toy", "values": RECIPE}, {"settings": {"seed": 4}}
    save_checkpoint(tmp_path / LAST, Checkpoint(recipe, ("a",), {"w": torch.zeros(1)}, run=run))
    assert weights_facts(tmp_path)["training"]["seed"] == 4
    assert weights_facts(tmp_path)["training"]["name"] == "toy"


def test_no_rows_and_no_seeds() -> None:
    assert seed_groups([], []) == ([], [])
    assert seed_table("cells", []) is None
    assert seed_table("cells", [trained("a", 0.5, 0, "ssd"), trained("b", 0.5, 1, "yolo"), entry(None)]) is None


def test_rows_by_recipe() -> None:
    rows = [
        trained("a", 0.5, 0, "ssd", 2),
        trained("b", 0.5, 0, None),
        trained("c", 0.5, 0, "ssd", 1),
        trained("d", 0.5, 0, "ssd", 2),
        trained("ssd", 0.5, 0, None),
    ]
    groups, notes = seed_groups(rows, range(5))
    assert [(group.name, group.rows, group.seeds) for group in groups] == [
        ("ssd", (2, 0), (1, 2)),
        ("b", (1,), ()),
        ("ssd-2", (4,), ()),
    ]
    assert notes == ["d: the recipe and the seed (2) of a; not another training"]


def test_recipes_are_ranked_by_their_mean() -> None:
    rows = [
        trained("a0", 0.60, 0, "ssd", 0),
        trained("a1", 0.62, 0, "ssd", 1),
        trained("b0", 0.59, 1, "yolo", 0),
        trained("b1", 0.49, 1, "yolo", 1),
        trained("c", 0.20, 2, None),
    ]
    table = seed_table("cells", rows)
    assert table is not None
    ssd, yolo, alone = table.rows
    assert [row["name"] for row in table.rows] == ["ssd", "yolo", "c"]
    assert (ssd["AP"], ssd["spread"], ssd["by_seed"]) == (
        pytest.approx(0.61),
        pytest.approx(0.02 / 2**0.5),
        "60.0, 62.0",
    )
    # A variance of .0001 from images and of .0002 / 2 from seeds, with one degree of freedom: about four together:
    # t is 2.776, times sqrt(.0002).
    assert ssd["AP_low"] == pytest.approx(0.61 - 0.0395, abs=0.001)
    assert alone["AP_low"] == pytest.approx(0.18, abs=0.002)  # images alone: 1.96 times .01
    assert [row["ties"] for row in table.rows] == [
        "A",
        "AB",
        "B",
    ]  # b spreads by 7.1 AP
    assert yolo["more_seeds"] >= 1
    assert table.absent[1]["more_images"] == "not alone"  # no number of images makes up for two seeds
    assert table.absent[2]["spread"] == "one seed"
    assert table.leading["AP"] == {0, 1}
    assert sum(row["p_best"] for row in table.rows) == pytest.approx(1)
    assert "Where there is one seed, its part is not known" in table.notes[0]


def test_a_comparison_of_trained_seeds(tmp_path: Path) -> None:
    data = "shapes:size=64,train=2,val=2,test=40"
    dataset = open_dataset(data, "test")
    plan = {"one-0": (0.5, 5), "one-1": (0.5, 6), "one-2": (0.5, 7), "two-0": (6.0, 2), "two-1": (6.0, 3)}
    folders = []
    for name, (shift, wrong) in plan.items():
        folder = write_results(
            tmp_path / name, dataset, found_in(dataset, shift=shift, wrong=wrong), architecture="ssd", side=64
        )
        kind, seed = name.split("-")
        recipe = f"detectors: {{{kind}: {{head: {{type: {kind}}}, train: {{seed: {seed}, epochs: 2}}}}}}\n"
        (folder / "recipe.yaml").write_text(recipe)
        folders.append(str(folder))
    done = compare(ComparisonPlan(folders, data, tmp_path / "out", examples=0), lambda _: None)
    assert done.seeds is not None
    written = json.loads((tmp_path / "out" / "seeds.json").read_text())["rows"]
    single = [own.results["metrics"]["AP"] for own in done.entries]
    assert [row["AP"] for row in written] == [pytest.approx(np.mean(single[:3])), pytest.approx(np.mean(single[3:]))]
    assert [row["seeds"] for row in written] == ["0, 1, 2", "0, 1"]
    assert "Over seeds" in (tmp_path / "out" / "index.html").read_text()
    assert "over seeds" in (tmp_path / "out" / "table.md").read_text()
    assert tmp_path / "out" / "seeds.json" in done.files
    again = compare(ComparisonPlan(folders[2:4], data, tmp_path / "out", examples=0), lambda _: None)
    assert again.seeds is None
    assert not (tmp_path / "out" / "seeds.json").exists()
