"""The whole way with a real recipe: open, build, train, resume, load, detect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import detzoo
from detzoo.cli.train import command
from detzoo.errors import DataError, RecipeError
from detzoo.training.options import TrainCommand
from detzoo.training.train_command import open_splits, train_target
from tests.training.training_toy import read_log

RECIPE, DATA = "ssd_mobilenet_v2", "shapes:size=96,train=16,val=8"
SMALL = ("input.size=[96,96]", "train.optimizer.lr=0.001")


def trained(out: Path, **options: Any) -> Any:
    chosen = {"overrides": SMALL, "weights": "none", "batch": 4, "device": "cpu", "workers": 0, "progress": False}
    named = {"target": RECIPE, "data": DATA, "out": out}
    pytest.importorskip("detzoo_ssd")
    return train_target(TrainCommand.of({**named, **chosen, **options}))


def test_a_recipe_trains_and_its_run_loads(tmp_path: Path) -> None:
    summary = trained(tmp_path / "run", steps=6)
    assert (summary.steps, summary.epochs) == (6, 2)
    assert all(np.isfinite(record["loss"]) for record in read_log(tmp_path / "run"))
    detector = detzoo.load(tmp_path / "run")
    assert detector.classes == ("circle", "square", "triangle", "star", "cross")
    again = detzoo.build(tmp_path / "run" / "recipe.yaml", weights=str(tmp_path / "run"))
    assert again.recipe.values == detector.recipe.values
    states = detector.state_dict(), again.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    image = np.full((60, 80, 3), 127, np.uint8)
    assert detector.predict([image], channels="rgb")[0].size == (60, 80)


def test_the_same_seed_gives_the_same_weights_whatever_loads_the_images(tmp_path: Path) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        trained(tmp_path / name, steps=3, workers=workers, seed=4)
    states = [detzoo.load(tmp_path / name).state_dict() for name in ("one", "two")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_detector_is_looked_up_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="NO_SUCH"):
        train_target(TrainCommand.of({"target": "NO_SUCH", "data": str(tmp_path / "none"), "out": tmp_path / "run"}))
    assert not (tmp_path / "run").exists()


def test_splits_are_found_by_their_usual_names() -> None:
    dataset, val = open_splits(DATA, None, None)
    assert val is not None
    assert (dataset.split, len(dataset), val.split, len(val)) == ("train", 16, "val", 8)
    dataset, val = open_splits(DATA, "val", "test")
    assert val is not None
    assert (dataset.split, val.split) == ("val", "test")
    with pytest.raises(DataError):
        open_splits(DATA, "training", None)


def test_the_command_ends_with_130_when_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt("stopped after step 5; repeat the command with --resume to continue")

    monkeypatch.setattr("detzoo.training.train_command.train_target", stopped)
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [RECIPE, "--data", DATA, "--out", str(tmp_path / "run")])
    assert done.exit_code == 130
    assert "stopped after step 5; repeat the command with --resume to continue" in done.output
