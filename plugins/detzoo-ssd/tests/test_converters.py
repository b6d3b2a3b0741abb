"""Other people's state dicts: every key is accounted for, and a wrong one is named."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from detzoo import build, convert_weights
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo_ssd import converters

BASE = {
    "conv1_1": (3, 64), "conv1_2": (64, 64), "conv2_1": (64, 128), "conv2_2": (128, 128), "conv3_1": (128, 256),
    "conv3_2": (256, 256), "conv3_3": (256, 256), "conv4_1": (256, 512), "conv4_2": (512, 512), "conv4_3": (512, 512),
    "conv5_1": (512, 512), "conv5_2": (512, 512), "conv5_3": (512, 512),
}  # fmt: skip
AUXILIARY = {"8": (1024, 256, 512), "9": (512, 128, 256), "10": (256, 128, 256), "11": (256, 128, 256)}
PREDICTED = {"4_3": (512, 4), "7": (1024, 6), "8_2": (512, 6), "9_2": (256, 6), "10_2": (256, 4), "11_2": (256, 4)}


def convolution(inputs: int, outputs: int, kernel: int) -> dict[str, Tensor]:
    return {"weight": torch.randn(outputs, inputs, kernel, kernel) / math.sqrt(inputs), "bias": torch.randn(outputs)}


@cache
def tutorial_state(classes: int = 20) -> dict[str, Tensor]:
    """A state dict with the names and shapes of the tutorial's ``SSD300``, values drawn here."""
    torch.manual_seed(0)
    layers = {f"base.{name}": convolution(*shape, 3) for name, shape in BASE.items()}
    layers |= {"base.conv6": convolution(512, 1024, 3), "base.conv7": convolution(1024, 1024, 1)}
    for number, (inputs, middle, outputs) in AUXILIARY.items():
        layers[f"aux_convs.conv{number}_1"] = convolution(inputs, middle, 1)
        layers[f"aux_convs.conv{number}_2"] = convolution(middle, outputs, 3)
    for name, (inputs, boxes) in PREDICTED.items():
        layers[f"pred_convs.loc_conv{name}"] = convolution(inputs, boxes * 4, 3)
        layers[f"pred_convs.cl_conv{name}"] = convolution(inputs, boxes * (classes + 1), 3)
    state = OrderedDict(rescale_factors=torch.rand(1, 512, 1, 1))
    state.update({f"{layer}.{part}": value for layer, parts in layers.items() for part, value in parts.items()})
    return state


@pytest.fixture(scope="module")
def tutorial() -> Detector:
    detector = build("ssd300_vgg16_tutorial", weights=None)
    convert_weights(detector, tutorial_state(), source="tutorial")
    return detector.eval()


def test_tutorial_names_convert(tutorial: Detector) -> None:
    theirs, ours = tutorial_state(), tutorial.state_dict()
    assert len(theirs) == len(ours) == 71
    pairs = {
        "rescale_factors": "neck.l2_norm.s8.weight",
        "base.conv1_1.bias": "backbone.body.features.0.bias",
        "base.conv3_3.weight": "backbone.body.features.14.weight",
        "base.conv4_3.weight": "backbone.body.features.21.weight",
        "base.conv5_3.bias": "backbone.body.features.28.bias",
        "base.conv6.weight": "backbone.body.fc6.0.weight",
        "base.conv7.bias": "backbone.body.fc7.0.bias",
        "aux_convs.conv8_2.weight": "neck.extra.extra1.2.weight",
        "aux_convs.conv11_1.bias": "neck.extra.extra4.0.bias",
        "pred_convs.cl_conv4_3.weight": "head.classification.0.weight",
        "pred_convs.loc_conv7.weight": "head.regression.1.weight",
        "pred_convs.loc_conv11_2.bias": "head.regression.5.bias",
    }
    for their, our in pairs.items():
        assert torch.equal(theirs[their].flatten(), ours[our].flatten()), their


def test_tutorial_constants_are_left_out(tutorial: Detector) -> None:
    state = tutorial_state() | {"priors_cxcy": torch.zeros(8732, 4)}
    assert converters.from_tutorial(state, tutorial).keys() == tutorial.state_dict().keys()


def test_keys_without_a_rule_are_named(tutorial: Detector) -> None:
    with pytest.raises(WeightsError) as error:
        converters.from_tutorial(tutorial_state() | {"base.conv9.weight": torch.zeros(1)}, tutorial)
    assert str(error.value) == (
        "The tutorial state dict has keys that no rule of the converter knows: base.conv9.weight. Is it of the same "
        "architecture and number of classes as the recipe?"
    )


def test_missing_tensors_are_named(tutorial: Detector) -> None:
    state = {key: value for key, value in tutorial_state().items() if not key.startswith("aux_convs")}
    with pytest.raises(WeightsError) as error:
        converters.from_tutorial(state, tutorial)
    assert str(error.value) == (
        "The tutorial state dict lacks tensors that this detector needs: neck.extra.extra1.0.bias, "
        "neck.extra.extra1.0.weight, neck.extra.extra1.2.bias, neck.extra.extra1.2.weight and 12 more. Is it of the "
        "same architecture and number of classes as the recipe?"
    )


def test_weights_of_another_architecture_are_refused(tutorial: Detector) -> None:
    with pytest.raises(WeightsError, match=r"has keys that no rule of the converter knows: fc\.weight"):
        converters.from_torchvision({"fc.weight": torch.zeros(1)}, tutorial)


def test_another_number_of_classes_is_refused(tutorial: Detector) -> None:
    with pytest.raises(WeightsError, match=r"head\.classification\.0\.weight \(16, 512, 3, 3\) instead of"):
        convert_weights(tutorial, tutorial_state(classes=3), source="tutorial")


def test_an_unknown_source_is_refused(tutorial: Detector) -> None:
    with pytest.raises(WeightsError, match=r'source of weights "caffe"; allowed: .*torchvision, .*tutorial'):
        convert_weights(tutorial, {}, source="caffe")


class TutorialForward(nn.Module):
    """The tutorial's network from its description: what its state dict means, written with functions alone."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.state = state

    def conv(self, name: str, x: Tensor, *, relu: bool = True, **how: int) -> Tensor:
        y = nn.functional.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **how)
        return y.relu() if relu else y

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for name in BASE:
            x = self.conv(f"base.{name}", x, padding=1)
            if name in ("conv1_2", "conv2_2", "conv3_3"):
                x = nn.functional.max_pool2d(x, 2, 2, ceil_mode=name == "conv3_3")
            if name == "conv4_3":
                normed = x / x.pow(2).sum(1, keepdim=True).sqrt() * self.state["rescale_factors"]
                x = nn.functional.max_pool2d(x, 2, 2)
        x = nn.functional.max_pool2d(x, 3, 1, padding=1)
        x = self.conv("base.conv7", self.conv("base.conv6", x, padding=6, dilation=6))
        maps = [normed, x]
        for number in AUXILIARY:
            x = self.conv(f"aux_convs.conv{number}_1", x)
            stride, padding = (2, 1) if number in ("8", "9") else (1, 0)
            x = self.conv(f"aux_convs.conv{number}_2", x, stride=stride, padding=padding)
            maps.append(x)
        found: dict[str, list[Tensor]] = {"loc": [], "cl": []}
        for name, feature in zip(PREDICTED, maps, strict=True):
            for part, columns in (("loc", 4), ("cl", 21)):
                y = self.conv(f"pred_convs.{part}_conv{name}", feature, relu=False, padding=1)
                found[part].append(y.permute(0, 2, 3, 1).reshape(len(y), -1, columns))
        return torch.cat(found["loc"], 1), torch.cat(found["cl"], 1)


def test_tutorial_network_computes_the_same(tutorial: Detector) -> None:
    from detzoo.prediction.prepare import prepare

    torch.manual_seed(1)
    image = torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8).numpy()
    batch = prepare([image], tutorial.input)
    with torch.no_grad():
        locations, scores = TutorialForward(tutorial_state())(batch.pixels)
        priors, predictions = tutorial.network(batch)
    assert priors.boxes.shape == (1, 8732, 4)
    scale = float(scores.std())
    torch.testing.assert_close(predictions.class_logits / scale, scores / scale, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(predictions.deltas[:, :, 0] / scale, locations / scale, atol=1e-4, rtol=1e-4)
