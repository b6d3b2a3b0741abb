"""torchvision's state dicts in detzoo's names.

Every tensor is accounted for. Left out is only what provably plays no part: background's box and background's mask,
which no detection reads and no loss reaches, and counters that frozen norms do not keep.
"""

from __future__ import annotations

import re
from typing import Final

from torch import Tensor, nn

from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state

TORCHVISION: Final[Rules] = (
    (r"backbone\.body\.(\d+\..+)", r"backbone.body.features.\1"),  # MobileNet: a Sequential without a name
    (r"backbone\.body\.(.+)", r"backbone.body.\1"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+\.[01]\..+)", r"neck.\1_blocks.\2"),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)", r"neck.\1_blocks.\2.0.\3"),
    (r"rpn\.head\.conv\.(\d+\.0\..+)", r"proposals.head.conv.\1"),
    (r"rpn\.head\.conv\.(weight|bias)", r"proposals.head.conv.0.0.\1"),
    (r"rpn\.head\.cls_logits\.(.+)", r"proposals.head.classification.\1"),
    (r"rpn\.head\.bbox_pred\.(.+)", r"proposals.head.regression.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"box.head.fc.0.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"box.head.fc.1.\1"),
    (r"roi_heads\.box_head\.(\d+\.[01]\..+)", r"box.head.conv.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"box.head.predictor.classification.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"box.head.predictor.regression.\1"),
    (r"roi_heads\.mask_head\.(\d+\.[01]\..+)", r"mask.head.conv.\1"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(.+)", r"mask.head.upsample.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(.+)", r"mask.head.classification.\1"),
)
"""Names of torchvision 0.13 and later, and of the older files it still publishes (``conv.weight``)."""

BACKGROUND_ROWS: Final = {"box.head.predictor.regression": 4, "mask.head.classification": 1}
"""Leading outputs that belong to background: torchvision's label 0 has a box and a mask, which nothing reads."""


def from_torchvision(state: StateDict, detector: nn.Module) -> dict[str, Tensor]:
    """torchvision's Faster and Mask R-CNN: the published files, old names and new, and ``model.state_dict()``.

    A model that torchvision built without pretrained weights has trainable batch norms (eps 1e-5) where these recipes
    have frozen ones: its variances are then moved by the difference of the two eps, so that the norms compute the same.

    Args:
        state: of one of the builders, for any number of classes.
        detector: the recipe of the same name.

    Returns:
        the same tensors under detzoo's names, background's box and mask left out.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """
    return renamed_state(
        state,
        lambda key: _name(key, detector),
        detector,
        source="torchvision",
        convert=lambda name, value: value[_background_rows(name) :] if value.dim() else value,
    )


def _name(key: str, detector: nn.Module) -> str | None:
    old_mask = re.fullmatch(r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)", key)
    if old_mask:
        return f"mask.head.conv.{int(old_mask[1]) - 1}.0.{old_mask[2]}"
    layer = re.fullmatch(r"roi_heads\.box_head\.(\d+)\.(weight|bias)", key)
    if layer:  # v2's box head is one list: convolutions, a flattening, then linear layers and ReLUs in turn
        convolutions = len(list(detector.get_submodule("box.head.conv").children()))
        return f"box.head.fc.{(int(layer[1]) - convolutions - 1) // 2}.{layer[2]}"
    return by_rules(TORCHVISION, key)


def _background_rows(name: str) -> int:
    return BACKGROUND_ROWS.get(name.rpartition(".")[0], 0)
