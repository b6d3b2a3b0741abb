"""What commands take as a detector; its recipe is resolved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import detzoo
from detzoo.detector_loading import load_detector
from detzoo.errors import WeightsError
from detzoo.recipes import recipe
from detzoo.training.options import TrainCommand
from detzoo.training.train_command import train_target

pytest.importorskip("detzoo_ssd")


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recipes that were resolved, in order."""
    names: list[str] = []
    check = recipe.check

    def counted(name: str, *rest: Any) -> recipe.Recipe:
        names.append(name)
        return check(name, *rest)

    monkeypatch.setattr(recipe, "check", counted)
    return names


def test_a_name_is_resolved_once(resolved: list[str]) -> None:
    detector = load_detector("ssd_mobilenet_v2", weights="optional", classes=["cat", "dog"])
    assert detector.classes == ("cat", "dog")
    assert resolved == ["ssd_mobilenet_v2"]


def test_what_needs_weights_says_that_there_are_none(resolved: list[str]) -> None:
    with pytest.raises(WeightsError, match=r"^ssd_mobilenet_v2 has no published weights"):
        load_detector("ssd_mobilenet_v2", set_=["weights=[]"])
    assert resolved == ["ssd_mobilenet_v2"]


def test_training_resolves_its_recipe_once(resolved: list[str], tmp_path: Path) -> None:
    command = TrainCommand(
        target="ssd_mobilenet_v2",
        data="shapes:size=96,train=4,val=2",
        out=tmp_path / "run",
        overrides=("input.size=[96,96]",),
        weights="none",
        batch=4,
        steps=1,
        device="cpu",
        workers=0,
        progress=False,
    )
    train_target(command)
    assert resolved == ["ssd_mobilenet_v2"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("x.onnx", "an exported ONNX file"), ("x.pt2", "an exported program"), ("mine.yaml", r"detzoo\.build")],
)
def test_load_says_what_is_no_run(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"abc")
    with pytest.raises(WeightsError, match=told):
        detzoo.load(tmp_path / name)


def test_load_of_a_recipe_says_what_builds_it() -> None:
    name = detzoo.list_detectors()[0]
    with pytest.raises(WeightsError, match=r"detzoo\.build"):
        detzoo.load(name)
