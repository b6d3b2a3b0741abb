"""torchvision's state dicts: every key is accounted for, old names too, and a wrong one is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detzoo import build, convert_weights
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo_retinanet.converters import from_torchvision

State = dict[str, Tensor]
RECIPE = """\
api: 1
detectors:
  retinanet:
    extends: retinanet_resnet50_fpn
    backbone: {type: resnet18, levels: [s8, s16, s32], norm: frozen, norm_eps: 0.0, weights: null}
    neck: {channels: 64}
  averaging:
    extends: retinanet
    loss: {normaliser: {type: moving_average, start: 7.0}}
  group:
    extends: retinanet
    head: {norm: group}
  fcos:
    extends: fcos_resnet50_fpn
    backbone: {type: resnet18, levels: [s8, s16, s32], norm: frozen, norm_eps: 1e-5, weights: null}
    neck: {channels: 64}
"""


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Detector]:
    """Small ones of each kind of tower, on ResNet-18."""
    path = tmp_path_factory.mktemp("converters") / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    names = ("retinanet", "averaging", "group", "fcos")
    return {name: build(f"{path}#{name}", num_classes=3, weights=None) for name in names}


def theirs(detector: Detector) -> State:
    """The detector's own tensors under torchvision's names."""
    state: State = {}
    for key, value in detector.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "backbone":
            state[f"backbone.{rest}"] = value
        elif part == "neck":
            name = rest if rest.startswith("extra") else rest.replace(".0.", ".", 1)
            state[f"backbone.fpn.{name}"] = value
        else:
            state[head_name(rest)] = value
    return state


def head_name(rest: str) -> str:
    part, _, rest = rest.partition(".")
    tower = {"class_tower": "classification", "box_tower": "regression"}.get(part)
    if tower is None:
        head, layer = {
            "classification": ("classification", "cls_logits"),
            "regression": ("regression", "bbox_reg"),
            "centreness": ("regression", "bbox_ctrness"),
        }[part]
        return f"head.{head}_head.{layer}.{rest}"
    return f"head.{tower}_head.conv.{rest}"


def flat_of(detector: Detector) -> State:
    """Towers in one list: convolution, norm where there is one, ReLU."""
    each = len(list(detector.get_submodule("head.class_tower.0").children()))
    state = theirs(detector)
    for key in [key for key in state if "_head.conv." in key]:
        start, _, rest = key.partition("_head.conv.")
        place, layer, kind = rest.split(".")
        state[f"{start}_head.conv.{int(place) * each + int(layer)}.{kind}"] = state.pop(key)
    return state


@pytest.mark.parametrize("name", ["retinanet", "group"])
def test_names_of_retinanet(name: str, detectors: dict[str, Detector]) -> None:
    check(theirs(detectors[name]), detectors[name])


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_towers_in_one_flat_list(name: str, detectors: dict[str, Detector]) -> None:
    """FCOS's, and the published RetinaNet's, whose file is older than torchvision's present names."""
    state = flat_of(detectors[name])
    last = {"retinanet": "head.classification_head.conv.6.bias", "fcos": "head.regression_head.conv.10.weight"}
    assert last[name] in state
    check(state, detectors[name])


def check(state: State, detector: Detector) -> None:
    renamed = from_torchvision(state, detector)
    assert renamed.keys() == detector.state_dict().keys()
    assert all(torch.equal(value, renamed[key]) for key, value in detector.state_dict().items())


def test_live_norms_of_a_model_from_scratch_become_frozen_ones(detectors: dict[str, Detector]) -> None:
    detector = detectors["retinanet"]
    state = theirs(detector)
    state |= {
        key.replace(".running_var", ".num_batches_tracked"): torch.tensor(0)
        for key in list(state)
        if key.endswith(".running_var")
    }
    renamed = from_torchvision(state, detector)
    name = "backbone.body.bn1.running_var"
    torch.testing.assert_close(renamed[name], detector.state_dict()[name] + 1e-5)  # their eps is 1e-5, ours 0


def test_a_moving_average_of_ones_own_stays(detectors: dict[str, Detector]) -> None:
    renamed = from_torchvision(theirs(detectors["retinanet"]), detectors["averaging"])
    assert renamed.keys() == detectors["averaging"].state_dict().keys()
    assert renamed["loss.normaliser.average"] == 7


def test_keys_without_a_rule_are_named(detectors: dict[str, Detector]) -> None:
    state = theirs(detectors["retinanet"]) | {"head.mask_head.weight": torch.zeros(1)}
    with pytest.raises(WeightsError) as error:
        from_torchvision(state, detectors["retinanet"])
    assert str(error.value) == (
        "The torchvision state dict has keys that no rule of the converter knows: head.mask_head.weight. "
        "Is it of the same architecture and number of classes as the recipe?"
    )


def test_weights_of_fcos_are_refused_by_retinanet(detectors: dict[str, Detector]) -> None:
    with pytest.raises(WeightsError, match=r"gives tensors that this detector does not have: head\.box_tower\.0\.1"):
        from_torchvision(flat_of(detectors["fcos"]), detectors["retinanet"])


def test_missing_tensors_are_named(detectors: dict[str, Detector]) -> None:
    state = {key: value for key, value in theirs(detectors["retinanet"]).items() if "cls_logits" not in key}
    with pytest.raises(WeightsError) as error:
        from_torchvision(state, detectors["retinanet"])
    assert str(error.value) == (
        "The torchvision state dict lacks tensors that this detector needs: head.classification.bias, "
        "head.classification.weight. Is it of the same architecture and number of classes as the recipe?"
    )


def test_through_the_front_door(detectors: dict[str, Detector]) -> None:
    convert_weights(detectors["fcos"], flat_of(detectors["fcos"]), source="torchvision")
    with pytest.raises(WeightsError, match=r'source of weights "caffe"; allowed: .*torchvision'):
        convert_weights(detectors["fcos"], {}, source="caffe")
