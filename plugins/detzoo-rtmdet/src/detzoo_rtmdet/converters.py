"""mmdetection's state dicts of RTMDet in detzoo's names; every tensor is accounted for."""

from __future__ import annotations

import re
from typing import Final

import torch
from torch import Tensor, nn

from detzoo.components.csp_names import MMDETECTION
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_modules, by_rules, renamed_state
from detzoo_rtmdet.head import RtmdetSepBnHead

_SHARED: Final = r"bbox_head\.(cls|reg)_convs\.(\d+)\.(\d+)\.conv\.weight"
"""A convolution of the head, which stands in the file once for each level: branch, level, position."""
_BRANCHES: Final = {"cls": "class_branch", "reg": "box_branch"}


def from_mmdet(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """OpenMMLab's release files of RTMDet.

    Args:
        state: of a file, without the checkpoint around it.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names. Convolutions that levels share stand in the file once for each level;
        here they stand once.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; levels whose shared convolutions differ.
    """
    head = detector.get_submodule("head")
    assert isinstance(head, RtmdetSepBnHead)  # the hook asks no other
    rules = _parts(len(head.strides))
    return renamed_state(_shared_once(state), lambda key: _name(rules, key, detector), detector, source="mmdet")


def _parts(levels: int) -> Rules:
    """Where each part of a model stands in the detector; what is inside a part, ``csp_names`` says."""
    steps = levels - 1
    neck = [
        (rf"neck\.{theirs}\.{row}\.(.+)", rf"neck.{ours}.{steps - 1 - row}.\1")  # they count from coarse to fine
        for theirs, ours in (("reduce_layers", "reductions"), ("top_down_blocks", "top_down"))
        for row in range(steps)
    ]
    head = [
        (rf"bbox_head\.{theirs}_convs\.{rest[0]}", rf"head.{ours}.{rest[1]}")
        for theirs, ours in _BRANCHES.items()
        for rest in ((r"0\.(\d+)\.conv\.weight", r"convs.\1.weight"), (r"(\d+)\.(\d+)\.bn\.(.+)", r"norms.\1.\2.0.\3"))
    ]
    return (
        (r"backbone\.(.+)", r"backbone.body.\1"),
        *neck,
        (r"neck\.downsamples\.(.+)", r"neck.downsamplings.\1"),
        (r"neck\.bottom_up_blocks\.(.+)", r"neck.bottom_up.\1"),
        (r"neck\.out_convs\.(.+)", r"neck.outputs.\1"),
        *head,
        (r"bbox_head\.rtm_cls\.(.+)", r"head.classification.\1"),
        (r"bbox_head\.rtm_reg\.(.+)", r"head.regression.\1"),
    )


def _name(rules: Rules, key: str, detector: nn.Module) -> str | None:
    placed = by_rules(rules, key)
    return placed if placed is None or placed.startswith("head.") else by_modules(MMDETECTION, placed, detector)


def _shared_once(state: StateDict) -> dict[str, Tensor]:
    """The state without the copies of shared convolutions that levels 1, 2, ... have.

    Raises:
        WeightsError: a copy differs: then the network does not share them.
    """
    kept = {}
    for key, value in state.items():
        found = re.fullmatch(_SHARED, key)
        if found is None or found[2] == "0":
            kept[key] = value
            continue
        first = state.get(f"bbox_head.{found[1]}_convs.0.{found[3]}.conv.weight")
        if first is None or not torch.equal(first, value):
            raise WeightsError(
                f"The mmdet state dict has another {key} than at level 0, but head rtmdet_sep_bn shares its "
                "convolutions between levels (share_conv: True in mmdetection)"
            )
    return kept
