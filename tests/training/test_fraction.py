"""``detzoo train --fraction``: as many steps on fewer images, and another training on another part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import DetzooError, TrainingError
from detzoo.training.options import TrainCommand
from detzoo.training.train_command import train_target
from detzoo.weights.checkpoint import LAST, load_checkpoint
from tests.comparison.test_trained_comparison import TARGETS

SMALL = ("input.size=[64, 64]", "train.batch=2", "train.epochs=1", "train.steps=null")


def command(out: Path, **changes: Any) -> TrainCommand:
    given: dict[str, Any] = {"val_split": "none", "workers": 0, "device": "cpu", "progress": False, "resume": True}
    given |= {"target": TARGETS[0], "data": "shapes:size=64,train=8", "overrides": SMALL, "weights": "none"}
    return TrainCommand(out=out, **given | changes)


def test_as_many_steps_on_half_of_the_images(tmp_path: Path) -> None:
    """Eight images in batches of two are four steps of one epoch; on four images they are two epochs."""
    done = train_target(command(tmp_path / "run", fraction=0.5))
    assert (done.steps, done.epochs) == (4, 2)
    settings = load_checkpoint(tmp_path / "run" / LAST, parts=()).run["settings"]
    assert settings["data"]["images"] == 4
    assert settings["data"]["part"] == {"fraction": 0.5, "seed": 0, "of": 8}
    assert settings["data"]["split"] == "train"
    assert train_target(command(tmp_path / "run", fraction=0.5)).steps == 4  # nothing is left to do
    with pytest.raises(TrainingError, match=r"another training:(.|\n)*run\.data\.part\.seed: 0 in the run, 1 now"):
        train_target(command(tmp_path / "run", fraction=0.5, subset_seed=1))
    with pytest.raises(TrainingError, match=r"another training:(.|\n)*run\.data\.images: 4 in the run, 8 now"):
        train_target(command(tmp_path / "run"))


def test_as_many_epochs_on_half_of_the_images(tmp_path: Path) -> None:
    done = train_target(command(tmp_path / "run", fraction=0.5, fraction_budget="epochs"))
    assert (done.steps, done.epochs) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fraction": 0.0}, "fraction is 0; it must be above 0 and at most 1"),
        ({"fraction": 1.5}, r"fraction is 1\.5"),
        ({"fraction": float("nan")}, "fraction is nan"),
        ({"fraction_budget": "hours"}, "fraction_budget 'hours' is unknown; allowed: steps, epochs"),
        ({"subset_seed": -1}, "subset_seed is -1; at least 0 is needed"),
    ],
)
def test_parts_that_cannot_be(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DetzooError, match=told):
        command(tmp_path, **changes)
