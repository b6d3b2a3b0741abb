"""Learning curves say how many objects stand behind their AP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detzoo.comparison.entry import ComparisonEntry
from detzoo.comparison.page import learning_section, validation_objects

CLASSES = {"cat": {"ground_truths": 7}, "dog": {"ground_truths": 5}}


def run(folder: Path, content: Any) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def entries(**runs: Path) -> list[ComparisonEntry]:
    return [ComparisonEntry(name, "", {}, {}, [], folder, folder) for name, folder in runs.items()]


@pytest.mark.parametrize(
    ("content", "objects"),
    [
        ({"per_class": {}, "selection": "best"}, 0),
        ({"per_class": CLASSES, "selection": "best"}, 12),
        ({"per_class": CLASSES}, None),  # of another split, by `detzoo eval --out RUN`
        ({"per_class": [1]}, None),
        ([], None),
    ],
)
def test_objects_of_a_run(tmp_path: Path, content: Any, objects: int | None) -> None:
    assert validation_objects(run(tmp_path / "run", content)) == objects
    assert validation_objects(tmp_path) is None


def test_the_note_names_runs_only_where_they_differ(tmp_path: Path) -> None:
    one = run(tmp_path / "one", {"per_class": CLASSES, "selection": "best"})
    other = run(tmp_path / "other", {"per_class": {}, "selection": "best"})
    assert learning_section(entries()).note == ""
    assert learning_section(entries(a=one, b=one)).note.endswith(" 12.")
    assert "a 12, b 0" in learning_section(entries(a=one, b=other)).note


def test_runs_that_differ_by_their_seed_are_one_curve(tmp_path: Path) -> None:
    made = []
    for seed, ap in ((0, 0.5), (1, 0.7)):
        folder = run(tmp_path / f"run{seed}", {"per_class": CLASSES, "selection": "best"})
        (folder / "curve.csv").write_text(f"epoch,step,loss,AP\n1,10,2.5,\n2,20,1.5,{ap}\n")
        fact = {"seed": seed, "recipe": "00ff", "name": "ssd"}
        made.append(ComparisonEntry(f"run{seed}", "", {}, {}, [], folder, folder, training=fact))
    section = learning_section(made)
    low, high, middle = section.plots[0].variants["AP %"]["data"]
    assert (middle["name"], middle["x"], middle["y"]) == ("ssd", [2.0], [pytest.approx(60)])
    assert (low["y"], high["y"]) == ([pytest.approx(50)], [pytest.approx(70)])
    assert "lowest to the highest" in section.note
