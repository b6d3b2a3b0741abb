"""Megvii's state dicts and ONNX files of YOLOX, and OpenMMLab's, in detzoo's names; every tensor is accounted for."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.csp import Bottleneck, CspLayer, SpatialPyramidPooling
from detzoo.components.csp_names import MMDETECTION
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Children, Rules, StateDict, by_modules, by_rules, renamed_state
from detzoo.weights.folded_layers import unfold_layers
from detzoo.weights.onnx_initialisers import layers_of
from detzoo_yolox.backbone import CspDarknet, HalvingBlock

PARTS: Final[Rules] = (
    (r"backbone\.backbone\.(.+)", r"backbone.body.\1"),
    (r"backbone\.(?:lateral_conv0|out1_cbl)\.(.+)", r"neck.reductions.1.\1"),
    (r"backbone\.(?:reduce_conv1|out2_cbl)\.(.+)", r"neck.reductions.0.\1"),
    (r"backbone\.C3_p4\.(.+)", r"neck.top_down.1.\1"),
    (r"backbone\.C3_p3\.(.+)", r"neck.top_down.0.\1"),
    (r"backbone\.bu_conv2\.(.+)", r"neck.downsamplings.0.\1"),
    (r"backbone\.bu_conv1\.(.+)", r"neck.downsamplings.1.\1"),
    (r"backbone\.C3_n3\.(.+)", r"neck.bottom_up.0.\1"),
    (r"backbone\.C3_n4\.(.+)", r"neck.bottom_up.1.\1"),
    (r"backbone\.out1\.(.+)", r"neck.mixers.1.\1"),
    (r"backbone\.out2\.(.+)", r"neck.mixers.0.\1"),
    (r"head\.stems\.(.+)", r"head.stems.\1"),
    (r"head\.cls_convs\.(.+)", r"head.class_branches.\1"),
    (r"head\.reg_convs\.(.+)", r"head.box_branches.\1"),
    (r"head\.cls_preds\.(.+)", r"head.classification.\1"),
    (r"head\.reg_preds\.(.+)", r"head.regression.\1"),
    (r"head\.obj_preds\.(.+)", r"head.objectness.\1"),
)
"""Where each part of a YOLOX model stands in the detector; what is inside a part, ``_CHILDREN`` says."""

MMDET_PARTS: Final[Rules] = (
    (r"backbone\.stem\.conv\.(.+)", r"backbone.body.stem.\1"),  # Focus has a layer of its own around the convolution
    *((rf"backbone\.stage{stage}\.(.+)", rf"backbone.body.dark{stage + 1}.\1") for stage in (1, 2, 3, 4)),
    *(
        (rf"neck\.{theirs}\.{row}\.(.+)", rf"neck.{ours}.{1 - row}.\1")  # they count from coarse to fine
        for theirs, ours in (("reduce_layers", "reductions"), ("top_down_blocks", "top_down"))
        for row in (0, 1)
    ),
    (r"neck\.downsamples\.(.+)", r"neck.downsamplings.\1"),
    (r"neck\.bottom_up_blocks\.(.+)", r"neck.bottom_up.\1"),
    (r"neck\.out_convs\.(.+)", r"head.stems.\1"),
    (r"bbox_head\.multi_level_cls_convs\.(.+)", r"head.class_branches.\1"),
    (r"bbox_head\.multi_level_reg_convs\.(.+)", r"head.box_branches.\1"),
    (r"bbox_head\.multi_level_conv_cls\.(.+)", r"head.classification.\1"),
    (r"bbox_head\.multi_level_conv_reg\.(.+)", r"head.regression.\1"),
    (r"bbox_head\.multi_level_conv_obj\.(.+)", r"head.objectness.\1"),
)
"""The same of mmdetection's: its neck ends with what are the head's first convolutions elsewhere."""

_CHILDREN: Final[Children] = {
    Conv2dNormActivation: {"conv": "0", "bn": "1"},
    nn.Sequential: {"dconv": "0", "pconv": "1"},
    CspLayer: {"conv1": "main", "conv2": "short", "conv3": "merge", "m": "blocks"},
    Bottleneck: {"conv1": "first", "conv2": "second"},
    HalvingBlock: {"layer1": "first", "layer2": "second"},
    SpatialPyramidPooling: {"conv1": "reduce", "conv2": "merge"},
}
"""Child of a YOLOX module -> ours, by the type of ours."""
FOCUS: Final = "backbone.backbone.stem.conv."
STEM: Final = "backbone.body.stem.0.weight"


def from_yolox(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """Megvii's release files, and the ONNX files that its exporter makes.

    Args:
        state: of a file; ``#...`` keys are an ONNX file's convolutions with folded norms.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names. Folded norms become norms that change nothing but add the bias.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; another number of convolutions, or other shapes.
    """
    named = {key: value for key, value in state.items() if not key.startswith("#")}
    focus = isinstance(detector.get_submodule("backbone"), CspDarknet)
    folded = unfold_layers(
        layers_of(state), detector, convert=lambda conv, w: _stem(w) if focus and conv == STEM else w
    )
    known = {own: own for own in folded}

    def rename(key: str) -> str | None:
        return known.get(key) or _name(key, detector)

    def convert(name: str, value: Tensor) -> Tensor:
        return _stem(value) if focus and name == STEM else value

    return renamed_state(named | folded, rename, detector, source="yolox", convert=convert)


def from_mmdet(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """OpenMMLab's release files of YOLOX: the same network as Megvii's, in other names.

    Args:
        state: of a file, without the checkpoint around it.
        detector: the recipe of the same network, on CSPDarknet.

    Returns:
        the same tensors under detzoo's names.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """

    def rename(key: str) -> str | None:
        placed = by_rules(MMDET_PARTS, key)
        return placed if placed is None else by_modules(MMDETECTION, placed, detector)

    def convert(name: str, value: Tensor) -> Tensor:
        return _stem(value) if name == STEM else value

    return renamed_state(state, rename, detector, source="mmdet", convert=convert)


def _name(key: str, detector: nn.Module) -> str | None:
    if key.startswith(FOCUS):  # Focus has a layer of its own around the convolution
        key = key.replace(FOCUS, "backbone.backbone.stem.")
    placed = by_rules(PARTS, key)
    return placed if placed is None else by_modules(_CHILDREN, placed, detector)


def _stem(weight: Tensor) -> Tensor:
    """From Focus and a 3x3 convolution, [C,12,3,3], to the equal 6x6 convolution of stride 2, [C,3,6,6].

    Focus stacks the pixels of each 2x2 block: top left, bottom left, top right, bottom right.
    """
    if weight.shape[1:] != (12, 3, 3):
        return weight
    blocks = weight.view(-1, 2, 2, 3, 3, 3)  # [C, x in block, y in block, colour, y, x]
    return blocks.permute(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6).contiguous()
