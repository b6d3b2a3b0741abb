"""torchvision's and NanoDet's weights in detzoo's names; every tensor is accounted for, and all of them are kept."""

from __future__ import annotations

import re
from typing import Final

from torch import Tensor, nn

from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state
from detzoo.weights.folded_layers import unfold_layers
from detzoo.weights.onnx_initialisers import layers_of

TORCHVISION: Final[Rules] = (
    (r"backbone\.body\.(.+)", r"backbone.body.\1"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+\.0\..+)", r"neck.\1_blocks.\2"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)", r"neck.\1_blocks.\2.0.\3"),
    (r"backbone\.fpn\.extra_blocks\.(p[67]\..+)", r"neck.extra_blocks.\1"),
    (r"head\.classification_head\.cls_logits\.(.+)", r"head.classification.\1"),
    (r"head\.regression_head\.bbox_reg\.(.+)", r"head.regression.\1"),
    (r"head\.regression_head\.bbox_ctrness\.(.+)", r"head.centreness.\1"),
    (r"head\.classification_head\.conv\.(\d+\.[01]\..+)", r"head.class_tower.\1"),
    (r"head\.regression_head\.conv\.(\d+\.[01]\..+)", r"head.box_tower.\1"),
)
"""Names of torchvision 0.13 and later; towers in one flat list, see ``_name``, are FCOS's and the older RetinaNet's."""

NANODET: Final[Rules] = (
    (r"fpn\.lateral_convs\.(\d+)\.conv\.(.+)", r"neck.laterals.\1.\2"),
    (r"head\.gfl_cls\.(\d+)\.(.+)", r"head.predictors.\1.\2"),
)
"""The layers of an exported NanoDet that kept their names; the others had norms behind them."""

TOWERS: Final = {"classification": "class_tower", "regression": "box_tower"}


def from_torchvision(state: StateDict, detector: nn.Module) -> dict[str, Tensor]:
    """torchvision's RetinaNet (both versions) and FCOS: the published files, old names and new, and state dicts.

    A model that torchvision built without pretrained weights has trainable batch norms (eps 1e-5) where some recipes
    have frozen ones: its variances are then moved by the difference of the two eps, so that the norms compute the same.

    Args:
        state: of one of the builders, for any number of classes.
        detector: the recipe of the same name.

    Returns:
        the same tensors under detzoo's names.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """
    return renamed_state(state, lambda key: _name(key, detector), detector, source="torchvision")


def _name(key: str, detector: nn.Module) -> str | None:
    found = re.fullmatch(r"head\.(classification|regression)_head\.conv\.(\d+)\.(weight|bias)", key)
    if found:  # convolution, norm (where there is one) and ReLU in turn, without names
        tower = detector.get_submodule(f"head.{TOWERS[found[1]]}")
        # 2: conv, ReLU; 3: with a norm
        each = len(list(tower.get_submodule("0").children())) if list(tower.children()) else 1
        place, part = divmod(int(found[2]), each)
        return f"head.{TOWERS[found[1]]}.{place}.{part}.{found[3]}"
    return by_rules(TORCHVISION, key)


def from_nanodet(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """NanoDet-m as its authors exported it, norms folded into the convolutions.

    Args:
        state: of an OpenVINO IR; ``#...`` keys are convolutions with folded norms.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names. Folded norms become norms that only add the bias.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; another number of convolutions, or other shapes.
    """
    named = {key: value for key, value in state.items() if not key.startswith("#")}
    folded = unfold_layers(layers_of(state), detector)

    def rename(key: str) -> str | None:
        return key if key in folded else by_rules(NANODET, key)

    return renamed_state(named | folded, rename, detector, source="openvino")
