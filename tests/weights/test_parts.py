"""Layers of a classifier beyond the backbone, into the heads that go on from there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detzoo.errors import RecipeError, WeightsError
from detzoo.weights.parts import load_parts


class Top(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 3)])
        self.stage = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2))


def classifier() -> dict[str, Tensor]:
    """Like torchvision's VGG16: dropouts lie between the layers, and there is a third."""
    torch.manual_seed(0)
    sizes = {"0": (4, 6), "3": (3, 4), "6": (1000, 3)}
    state = {f"classifier.{k}.weight": torch.randn(*v) for k, v in sizes.items()}
    state |= {f"classifier.{k}.bias": torch.randn(v[0]) for k, v in sizes.items()}
    state |= {
        f"layer4.{k}": v
        for k, v in nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)).state_dict().items()
    }
    return state


PARTS = {"fc.0": "classifier.0", "fc.1": "classifier.3", "stage": "layer4"}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.body."])
def test_named_layers_are_copied(prefix: str, tmp_path: Path) -> None:
    state = {prefix + k: v for k, v in classifier().items()}
    save_file(state, tmp_path / "net.safetensors")
    top = Top()
    assert load_parts(top, PARTS, tmp_path / "net.safetensors") == 10
    assert torch.equal(top.fc[0].get_parameter("weight"), state[f"{prefix}classifier.0.weight"])
    assert torch.equal(top.fc[1].get_parameter("bias"), state[f"{prefix}classifier.3.bias"])
    assert torch.equal(top.stage[0].get_parameter("weight"), state[f"{prefix}layer4.0.weight"])
    assert top.fc[0].get_parameter("weight").requires_grad


def test_a_layer_that_the_file_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    save_file({"features.0.weight": torch.zeros(2), "features.2.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError) as error:
        load_parts(Top(), PARTS, path)
    assert str(error.value) == (
        f'{path} has no layer "classifier.0", from which fc.0 should start; nearest: features.0, features.2. '
        "Name a file of the whole classifier under backbone.weights, or set pretrained to null to start this layer "
        "from its own initialisation."
    )


def test_a_layer_of_another_shape_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(classifier() | {"classifier.3.weight": torch.zeros(3, 5)}, path)
    top = Top()
    before = {k: v.clone() for k, v in top.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_parts(top, PARTS, path)
    assert str(error.value) == (
        f"{path}: layer classifier.3 does not fit fc.1 of Top: weight has shape [3, 5] and must have [3, 4]. "
        "Change the widths of the head to those of the file, or leave the layer out of pretrained."
    )
    assert all(torch.equal(v, before[k]) for k, v in top.state_dict().items())


def test_values_that_are_not_finite_and_missing_ones(tmp_path: Path) -> None:
    # torchvision's IMAGENET1K_FEATURES of VGG16 fill the classifier with NaN
    path = tmp_path / "net.safetensors"
    save_file({"classifier.0.weight": torch.full((4, 6), float("nan"))}, path)
    with pytest.raises(WeightsError, match=r"of Top: bias is missing; weight: \d+ of \d+ values are NaN"):
        load_parts(Top(), {"fc.0": "classifier.0"}, path)


def test_a_layer_that_the_head_does_not_have(tmp_path: Path) -> None:
    save_file(classifier(), tmp_path / "net.safetensors")
    with pytest.raises(RecipeError) as error:
        load_parts(Top(), {"fc.2": "classifier.6"}, tmp_path / "net.safetensors")
    assert str(error.value) == 'Top has no layer "fc.2" to start from weights; it has: fc.1, fc.0, fc'
