"""YOLOX's state dicts and ONNX files in detzoo's names; every tensor is accounted for."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.csp import Bottleneck, CspLayer, SpatialPyramidPooling
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state
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

_CHILDREN: Final[dict[type[nn.Module], dict[str, str]]] = {
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


def _name(key: str, detector: nn.Module) -> str | None:
    if key.startswith(FOCUS):  # Focus has a layer of its own around the convolution
        key = key.replace(FOCUS, "backbone.backbone.stem.")
    placed = by_rules(PARTS, key)
    if placed is None:
        return None
    module: nn.Module | None = detector
    path = []
    for part in placed.split("."):
        own = part if module is None else _CHILDREN.get(type(module), {}).get(part, part)
        path.append(own)
        module = None if module is None else dict(module.named_children()).get(own)
    return ".".join(path)


def _stem(weight: Tensor) -> Tensor:
    """From Focus and a 3x3 convolution, [C,12,3,3], to the equal 6x6 convolution of stride 2, [C,3,6,6].

    Focus stacks the pixels of each 2x2 block: top left, bottom left, top right, bottom right.
    """
    if weight.shape[1:] != (12, 3, 3):
        return weight
    blocks = weight.view(-1, 2, 2, 3, 3, 3)  # [C, x in block, y in block, colour, y, x]
    return blocks.permute(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6).contiguous()
