"""What is pretrained and what starts from scratch is known after a build, and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import mobilenet_v2

import detzoo
from detzoo.errors import WeightsError
from detzoo.interfaces import StartingPoint
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe
from detzoo.weights.starting_point import starting_lines

IMAGENET = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"
NOWHERE = "http://127.0.0.1:9/mobilenet_v2-b0353104.pth"
RECIPE = "ssd_mobilenet_v2_fpn"


def small_data_recipes() -> list[str]:
    """Recipes on MobileNetV2 whose schedule is for small data."""
    found = []
    for name in get_registry().detectors():
        values = load_recipe(name).values
        if values["backbone"]["type"] == "mobilenet_v2" and values["train"]["schedule"]["name"] == "one_cycle":
            found.append(name)
    return found


@pytest.fixture
def small() -> dict[str, Any]:
    pytest.importorskip("detzoo_ssd")
    return {"input.size": [64, 64], "neck.channels": 8}


def test_nobody_said_anything() -> None:
    assert starting_lines(StartingPoint()) == []


def test_every_small_data_recipe_names_torchvisions_weights_and_their_padding() -> None:
    pytest.importorskip("detzoo_ssd")
    names = small_data_recipes()
    assert len(names) >= 8
    for name in names:
        backbone = load_recipe(name).values["backbone"]
        assert (backbone["weights"], backbone["padding"]) == (IMAGENET, "torch"), name


@pytest.mark.parametrize("weights", ["backbone", None])
def test_a_backbone_from_scratch_is_named(small: dict[str, Any], weights: str | None) -> None:
    detector = detzoo.build(RECIPE, overrides={**small, "backbone.weights": None}, weights=weights)
    assert detector.start.random == ("backbone (mobilenet_v2)", "neck (fpn)", "head (ssd)")
    assert not detector.start.loaded
    lines = starting_lines(detector.start)
    assert lines[0] == "nothing is pretrained; from scratch: backbone (mobilenet_v2), neck (fpn), head (ssd)"
    assert lines[1].startswith("warning: backbone (mobilenet_v2) starts from scratch")
    assert "--set backbone.weights=FILE" in lines[1]


def test_a_file_of_torchvisions_classifier(small: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "imagenet.pth"
    state = mobilenet_v2(weights=None).state_dict()
    torch.save(state, path)
    detector = detzoo.build(RECIPE, overrides={**small, "backbone.weights": str(path)})
    assert detector.start == StartingPoint({"backbone (mobilenet_v2)": str(path)}, ("neck (fpn)", "head (ssd)"))
    assert starting_lines(detector.start) == [
        f"backbone (mobilenet_v2) from {path}; from scratch: neck (fpn), head (ssd)"
    ]
    first = next(value for name, value in detector.state_dict().items() if name.endswith("features.0.0.weight"))
    assert torch.equal(first, state["features.0.0.weight"])


def test_frozen_layers_that_nobody_trained(small: dict[str, Any]) -> None:
    detector = detzoo.build(RECIPE, overrides={**small, "backbone.weights": None, "backbone.freeze": ["features.0"]})
    frozen = sum(not parameter.requires_grad for parameter in detector.parameters())
    assert detector.start.frozen == {"backbone (mobilenet_v2)": frozen}
    assert starting_lines(detector.start)[-1].startswith(f"warning: {frozen} tensors of backbone (mobilenet_v2)")


def test_weights_of_the_whole_detector(small: dict[str, Any]) -> None:
    detector = detzoo.build(RECIPE, overrides={**small, "backbone.weights": None})
    detzoo.convert_weights(detector, detector.state_dict(), source="detzoo")
    assert detector.start == StartingPoint({"detector": "detzoo"})


def test_without_a_network_there_is_one_choice(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DETZOO_BACKBONE_WEIGHTS")
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        detzoo.build(RECIPE, overrides={**small, "backbone.weights": NOWHERE})
    message = str(caught.value)
    assert NOWHERE in message
    assert re.search(r"--set backbone\.weights=FILE .*--set backbone\.weights=null", message)


def test_a_machine_without_a_network_says_so_once(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETZOO_BACKBONE_WEIGHTS", "null")
    detector = detzoo.build(RECIPE, overrides={**small, "backbone.weights": NOWHERE})
    assert "backbone (mobilenet_v2)" in detector.start.random
    monkeypatch.setenv("DETZOO_BACKBONE_WEIGHTS", "yes")
    with pytest.raises(WeightsError, match="DETZOO_BACKBONE_WEIGHTS may be null or not set, found 'yes'"):
        detzoo.build(RECIPE, overrides={**small, "backbone.weights": NOWHERE})
