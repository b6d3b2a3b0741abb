"""``compare --seeds``: which trainings it makes, and what is rejected."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.cli import main
from detzoo.comparison.candidates import Candidate, candidates_of, read_seeds
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.training import missing
from detzoo.data import open_dataset
from detzoo.errors import DetzooError
from detzoo.runtime.folder_claim import wait_for_folder
from detzoo.training.log import read_curve
from detzoo.training.options import TrainOptions
from detzoo.weights.checkpoint import LAST, load_checkpoint
from tests.comparison.test_trained_comparison import NAMES, TARGETS, detzoo
from tests.experiments.processes import DATA, wait_for


def plan_of(out: Path, *targets: str, seed: int | None = None, **changes: Any) -> ComparisonPlan:
    options: dict[str, Any] = {"train": True, "training": TrainOptions(steps=1, seed=seed)} | changes
    return ComparisonPlan(targets=targets or TARGETS[:1], data=DATA, out=out, **options)


def run_of(out: Path, seed: int) -> Path:
    return out / "detectors" / f"{NAMES[0]}-seed{seed}" / "run"


def seeds_of(candidates: list[Candidate]) -> list[tuple[str, int | None]]:
    return [(one.name, None if one.training is None else one.training.seed) for one in candidates]


def test_one_row_without_seeds(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    given = [TARGETS[0], str(tmp_path / "theirs.onnx")]
    assert seeds_of(candidates_of(plan_of(tmp_path, *given, seed=5))) == [(NAMES[0], 5), ("theirs.onnx", None)]
    named = seeds_of(candidates_of(plan_of(tmp_path, *given, train=False)))
    assert named == [(NAMES[0], None), ("theirs.onnx", None)]


def test_a_number_of_seeds_is_counted_up(tmp_path: Path) -> None:
    of_recipe = candidates_of(plan_of(tmp_path, *TARGETS, seeds=2))
    assert seeds_of(of_recipe) == [(f"{name}-seed{seed}", seed) for name in NAMES for seed in (0, 1)]
    assert of_recipe[1].label == f"{TARGETS[0]} (seed 1)"
    changed = plan_of(tmp_path, seeds=2, overrides=["train.seed=7"])
    assert [seed for _, seed in seeds_of(candidates_of(changed))] == [7, 8]
    assert [seed for _, seed in seeds_of(candidates_of(plan_of(tmp_path, seeds=2, seed=30)))] == [30, 31]


def test_seeds_that_are_given(tmp_path: Path) -> None:
    assert read_seeds(None) is None
    assert read_seeds("3") == 3
    assert read_seeds("0, 4,7") == (0, 4, 7)
    found = candidates_of(plan_of(tmp_path, seeds=(4, 0)))
    assert seeds_of(found) == [(f"{NAMES[0]}-seed4", 4), (f"{NAMES[0]}-seed0", 0)]


def test_a_row_of_that_name_keeps_it(tmp_path: Path) -> None:
    taken = tmp_path / f"{NAMES[0]}-seed1"
    (taken / "last.safetensors").mkdir(parents=True)
    (taken / "results.json").write_text("{}")
    names = [one.name for one in candidates_of(plan_of(tmp_path, TARGETS[0], str(taken), seeds=2))]
    assert names == [f"{NAMES[0]}-seed0", f"{NAMES[0]}-seed1-2", f"{NAMES[0]}-seed1"]


def test_parts_of_the_images(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, fractions=(1, 0.25), seeds=2)
    candidates = candidates_of(plan)
    assert [(one.name, one.fraction, one.ranked) for one in candidates] == [
        (f"{NAMES[0]}-part0.25-seed0", 0.25, False),
        (f"{NAMES[0]}-part0.25-seed1", 0.25, False),
        (f"{NAMES[0]}-seed0", 1, True),
        (f"{NAMES[0]}-seed1", 1, True),
    ]
    assert {one.recipe for one in candidates} == {NAMES[0]}
    assert candidates[1].label == f"{TARGETS[0]} (0.25 of the images, seed 1)"
    jobs, keys, _ = missing(plan, candidates, open_dataset(DATA, "test"))
    commands = [job.command for job in jobs]
    assert [(one.fraction, one.subset_seed, one.fraction_budget, one.seed) for one in commands] == [
        (0.25, 0, "steps", 0), (0.25, 0, "steps", 1), (None, 0, "steps", 0), (None, 0, "steps", 1)
    ]  # fmt: skip
    whole = plan_of(tmp_path, seeds=2)
    again = missing(whole, candidates_of(whole), open_dataset(DATA, "test"))[1]
    assert again == {name: key for name, key in keys.items() if "part" not in name}  # all images: as without parts
    other = plan_of(tmp_path, fractions=(1, 0.25), seeds=2, subset_seed=1)
    changed = missing(other, candidates_of(other), open_dataset(DATA, "test"))[1]
    assert [changed[name] == key for name, key in keys.items()] == [False, False, True, True]


def test_each_seed_has_its_own_run_and_key(tmp_path: Path) -> None:
    dataset = open_dataset(DATA, "test")
    two, three = plan_of(tmp_path, seeds=2), plan_of(tmp_path, seeds=3)
    jobs, keys, _ = missing(two, candidates_of(two), dataset)
    assert [job.command.seed for job in jobs] == [0, 1]
    assert [job.command.out for job in jobs] == [
        tmp_path / "detectors" / f"{NAMES[0]}-seed{seed}" / "run" for seed in (0, 1)
    ]
    assert len(set(keys.values())) == 2
    assert keys.items() <= missing(three, candidates_of(three), dataset)[1].items()  # a third makes no other of two


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--seeds", "2"], "--seeds says how often --train trains each detector; add --train, or leave it out"),
        (["--train", "--seeds", "0"], "--seeds 0: at least one is needed"),
        (["--train", "--seeds", "5000"], "at most 1000; --seed 5000 is the seed of one"),
        (["--train", "--seeds", "two"], "--seeds two: expected a number of seeds, as 3, or seeds with commas"),
        (["--train", "--seeds", "1,-2"], "--seeds 1,-2: expected a number of seeds"),
        (["--train", "--seeds", "1,1"], "--seeds: 1 is given twice; each seed makes one training"),
        (["--train", "--seeds", "1,2", "--seed", "3"], "give either --seed or a list of --seeds, not both"),
        (["--fractions", "0.5"], "--fractions are parts of the images that --train trains on; add --train"),
        (
            ["--train", "--fractions", "half,1"],
            "--fractions half,1: expected parts of the training images, as 0.1,0.3",
        ),
        (["--train", "--fractions", "0,1"], "--fractions: 0 is out of range; above 0 and at most 1 is allowed"),
        (["--train", "--fractions", "nan"], "--fractions: nan is out of range"),
        (["--train", "--fractions", "0.5,0.5"], "--fractions: 0.5 is given twice"),
        (["--train", "--fraction-budget", "hours"], "--fraction-budget hours is unknown; allowed: steps, epochs"),
        (["--train", "--seeds", "1,9999999999999999999"], "is out of range; 0 to 9223372036854775807 is allowed"),
    ],
)
def test_seeds_that_cannot_be(
    given: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c"
    monkeypatch.setattr("sys.argv", ["detzoo", "compare", TARGETS[0], "--data", DATA, "--out", str(out), *given])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_too_many_seeds_from_python(tmp_path: Path) -> None:
    with pytest.raises(DetzooError, match="seed is 9223372036854775808; at most"):
        candidates_of(plan_of(tmp_path, seed=2**63 - 1, seeds=2))


@pytest.mark.slow
def test_seeds_that_are_killed_end_as_those_that_are_not(tmp_path: Path) -> None:
    def trained(out: Path, *, kill: bool) -> tuple[str, str]:
        order = ["--devices", "cpu", "--epochs", "2", "--seeds", "2", "--set", "input.size=[64, 64]"]
        second = run_of(out, 1)
        with detzoo(out, *order, targets=TARGETS[:1]) as process:
            if kill:
                wait_for(lambda: len(read_curve(second)) == 1, "an epoch of the second seed")
                process.kill()
            answer = process.communicate(timeout=500)
        if not kill:
            assert process.returncode == 0, answer[1]
        return answer

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    trained(killed, kill=True)
    wait_for_folder(run_of(killed, 1))
    first = (run_of(killed, 0) / LAST).stat().st_mtime_ns
    table, said = trained(killed, kill=False)
    assert "2 to train" in said
    assert f"{NAMES[0]}-seed0" in table
    assert (run_of(killed, 0) / LAST).stat().st_mtime_ns == first
    trained(whole, kill=False)
    weights = [
        [
            load_checkpoint(out / "detectors" / f"{NAMES[0]}-seed{seed}" / "run" / "last.safetensors").model
            for seed in (0, 1)
        ]
        for out in (killed, whole)
    ]
    for mine, other in zip(*weights, strict=True):
        assert all(torch.equal(mine[name], value) for name, value in other.items())
    assert any(not torch.equal(weights[0][0][name], value) for name, value in weights[0][1].items())
    (row,) = json.loads((killed / "seeds.json").read_text())["rows"]
    assert (row["name"], row["seeds"]) == ("demo.yaml#ssd_resnet18", "0, 1")
    assert os.listdir(killed / "detectors") == os.listdir(whole / "detectors")
    _, said = trained(killed, kill=False)
    assert said.splitlines() == [f"{NAMES[0]}-seed{seed}: already done" for seed in (0, 1)]
