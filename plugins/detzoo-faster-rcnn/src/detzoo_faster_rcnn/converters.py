"""torchvision's state dicts in detzoo's names.

Every tensor is accounted for. Left out is only what provably plays no part: background's box and background's mask,
which no detection reads and no loss reaches, and counters that frozen norms do not keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from torch import Tensor, nn

from detzoo.errors import WeightsError

StateDict = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]

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
TORCHVISION_EPS: Final = 1e-5
"""Of torchvision's trainable batch norms, which keep a counter; the published frozen ones of ResNet-50 have 0."""
COUNTER: Final = ".num_batches_tracked"


def from_torchvision(state: StateDict, detector: nn.Module) -> StateDict:
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
    expected = detector.state_dict()
    renamed: StateDict = {}
    counters: StateDict = {}
    unknown = []
    for key, value in state.items():
        new = _name(key, detector)
        if new is None:
            unknown.append(key)
        elif new.endswith(COUNTER):
            counters[new] = value
        else:
            renamed[new] = value[_background_rows(new) :]
    _complain("has keys that no rule of the converter knows", unknown)
    counted = {name.replace(COUNTER, ".running_var") for name in counters}
    _complain("gives tensors that this detector does not have", (renamed.keys() | counted) - expected.keys())
    own_counters = {key: value for key, value in expected.items() if key.endswith(COUNTER)}
    _complain("lacks tensors that this detector needs", expected.keys() - renamed.keys() - own_counters.keys())
    frozen = {name for name in counters if name not in own_counters}
    variances = {name.replace(COUNTER, ".running_var"): _variance(name, renamed, detector) for name in sorted(frozen)}
    # files without counters leave the detector's own, which evaluation never reads
    return renamed | variances | {name: counters.get(name, own) for name, own in own_counters.items()}


def _name(key: str, detector: nn.Module) -> str | None:
    old_mask = re.fullmatch(r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)", key)
    if old_mask:
        return f"mask.head.conv.{int(old_mask[1]) - 1}.0.{old_mask[2]}"
    layer = re.fullmatch(r"roi_heads\.box_head\.(\d+)\.(weight|bias)", key)
    if layer:  # v2's box head is one list: convolutions, a flattening, then linear layers and ReLUs in turn
        convolutions = len(list(detector.get_submodule("box.head.conv").children()))
        return f"box.head.fc.{(int(layer[1]) - convolutions - 1) // 2}.{layer[2]}"
    for pattern, replacement in TORCHVISION:
        found = re.fullmatch(pattern, key)
        if found:
            return found.expand(replacement)
    return None


def _background_rows(name: str) -> int:
    return BACKGROUND_ROWS.get(name.rpartition(".")[0], 0)


def _variance(counter: str, renamed: StateDict, detector: nn.Module) -> Tensor:
    """The variance of a norm that is trainable in torchvision's model and frozen, maybe with another eps, in ours."""
    norm = counter.removesuffix(COUNTER)
    eps = detector.get_submodule(norm).eps
    assert isinstance(eps, float)
    variance = renamed[f"{norm}.running_var"]
    return variance if eps == TORCHVISION_EPS else variance + (TORCHVISION_EPS - eps)


def _complain(problem: str, keys: Iterable[str]) -> None:
    listed = sorted(keys)
    if listed:
        shown = ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
        raise WeightsError(
            f"The torchvision state dict {problem}: {shown}. Is it of the same architecture and number of classes as "
            "the recipe?"
        )
