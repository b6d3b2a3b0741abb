"""Other people's state dicts in detzoo's names.

Each function takes a state dict and the detector it is meant for, and returns the renamed dict: every tensor is
accounted for, nothing is dropped but what the detector provably does not use.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor, nn

from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state

TORCHVISION_SSD300: Rules = (
    (r"backbone\.scale_weight", r"neck.l2_norm.s8.weight"),
    (r"backbone\.features\.(\d+)\.(weight|bias)", r"backbone.body.features.\1.\2"),
    (r"backbone\.extra\.0\.7\.1\.(weight|bias)", r"backbone.body.fc6.0.\1"),
    (r"backbone\.extra\.0\.7\.3\.(weight|bias)", r"backbone.body.fc7.0.\1"),
)
"""conv5 (``extra.0.1``, ``.3``, ``.5``) and the extra layers are shifted by arithmetic, see ``from_torchvision``."""

FACE: Rules = (
    (r"base_net\.(\d+)\.(branch\d)\.(\d+)\.conv\.(.+)", r"backbone.stages.\1.\2.\3.0.\4"),
    (r"base_net\.(\d+)\.(branch\d)\.(\d+)\.bn\.(.+)", r"backbone.stages.\1.\2.\3.1.\4"),
    (r"base_net\.(\d+)\.ConvLinear\.conv\.(.+)", r"backbone.stages.\1.merge.0.\2"),
    (r"base_net\.(\d+)\.ConvLinear\.bn\.(.+)", r"backbone.stages.\1.merge.1.\2"),
    (r"base_net\.(\d+)\.shortcut\.conv\.(.+)", r"backbone.stages.\1.shortcut.0.\2"),
    (r"base_net\.(\d+)\.shortcut\.bn\.(.+)", r"backbone.stages.\1.shortcut.1.\2"),
    (r"base_net\.(\d+\.\d+\..+)", r"backbone.stages.\1"),
    (r"extras\.0\.0\.(.+)", r"neck.extra.extra1.0.\1"),
    (r"extras\.0\.2\.0\.(.+)", r"neck.extra.extra1.2.\1"),
    (r"extras\.0\.2\.2\.(.+)", r"neck.extra.extra1.4.\1"),
    (r"classification_headers\.([012])\.0\.(.+)", r"head.classification.\1.0.0.\2"),
    (r"classification_headers\.([012])\.2\.(.+)", r"head.classification.\1.1.\2"),
    (r"classification_headers\.3\.(.+)", r"head.classification.3.\1"),
    (r"regression_headers\.([012])\.0\.(.+)", r"head.regression.\1.0.0.\2"),
    (r"regression_headers\.([012])\.2\.(.+)", r"head.regression.\1.1.\2"),
    (r"regression_headers\.3\.(.+)", r"head.regression.3.\1"),
)

TUTORIAL_BACKBONE = {"conv1": 0, "conv2": 5, "conv3": 10, "conv4": 17, "conv5": 24}
"""Index of the first convolution of each of VGG16's groups in ``features``; the next ones follow every second place."""
TUTORIAL_MAPS = ("4_3", "7", "8_2", "9_2", "10_2", "11_2")


def from_torchvision(state: StateDict, detector: nn.Module) -> dict[str, Tensor]:
    """torchvision's ssd300_vgg16 and ssdlite320_mobilenet_v3_large.

    Args:
        state: what ``model.state_dict()`` gives.
        detector: the recipe of the same name.

    Returns:
        the same tensors under detzoo's names.
    """
    lite = "backbone.scale_weight" not in state  # SSDLite has no L2Norm
    return _renamed(state, _torchvision_ssdlite if lite else _torchvision_ssd300, detector, "torchvision")


def from_tutorial(state: StateDict, detector: nn.Module) -> dict[str, Tensor]:
    """sgrvinod's a-PyTorch-Tutorial-to-Object-Detection: ``base.*``, ``aux_convs.*``, ``pred_convs.*``.

    Args:
        state: its ``SSD300.state_dict()``; ``priors_cxcy``, where present, is a constant and left out.
        detector: ``ssd300_vgg16_tutorial``.

    Returns:
        the same tensors under detzoo's names.
    """
    # a constant: detzoo computes its priors
    kept = {key: value for key, value in state.items() if key != "priors_cxcy"}
    return _renamed(kept, _tutorial, detector, "tutorial")


def from_ultralight_face(state: StateDict, detector: nn.Module) -> dict[str, Tensor]:
    """Linzaer's Ultra-Light-Fast-Generic-Face-Detector-1MB, versions slim and RFB.

    Args:
        state: ``version-slim-320.pth`` or ``version-RFB-320.pth``.
        detector: the recipe of the same version.

    Returns:
        the same tensors under detzoo's names.
    """
    return _renamed(state, lambda key: by_rules(FACE, key), detector, "ultralight_face")


def _torchvision_ssd300(key: str) -> str | None:
    found = re.fullmatch(r"backbone\.extra\.0\.([135])\.(weight|bias)", key)
    if found:  # extra.0 starts with pool4, which is features.23
        return f"backbone.body.features.{23 + int(found[1])}.{found[2]}"
    found = re.fullmatch(r"backbone\.extra\.([1-5])\.([02])\.(weight|bias)", key)
    if found:
        return f"neck.extra.extra{found[1]}.{found[2]}.{found[3]}"
    return by_rules(TORCHVISION_SSD300, key) or _torchvision_head(key)


def _torchvision_ssdlite(key: str) -> str | None:
    """features.0 is the network up to the expansion of block 13, features.1 the rest: detzoo keeps one list."""
    found = re.fullmatch(r"backbone\.features\.0\.(\d+)\.(.+)", key)
    if found:
        inside = "block.0." if found[1] == "13" else ""  # torchvision cuts inside block 13, behind its expansion
        return f"backbone.body.features.{found[1]}.{inside}{found[2]}"
    found = re.fullmatch(r"backbone\.features\.1\.0\.(\d+)\.(.+)", key)
    if found:
        return f"backbone.body.features.13.block.{found[1]}.{found[2]}"
    found = re.fullmatch(r"backbone\.features\.1\.(\d+)\.(.+)", key)
    if found:
        return f"backbone.body.features.{13 + int(found[1])}.{found[2]}"
    found = re.fullmatch(r"backbone\.extra\.(\d)\.([012])\.([01])\.(.+)", key)
    if found:  # conv, norm, activation three times over, flat
        return f"neck.extra.extra{int(found[1]) + 1}.{3 * int(found[2]) + int(found[3])}.{found[4]}"
    return _torchvision_head(key)


def _torchvision_head(key: str) -> str | None:
    found = re.fullmatch(r"head\.(classification|regression)_head\.module_list\.(.+)", key)
    return f"head.{found[1]}.{found[2]}" if found else None


def _tutorial(key: str) -> str | None:
    if key == "rescale_factors":
        return "neck.l2_norm.s8.weight"
    found = re.fullmatch(r"base\.(conv[1-5])_([123])\.(weight|bias)", key)
    if found:
        return f"backbone.body.features.{TUTORIAL_BACKBONE[found[1]] + 2 * (int(found[2]) - 1)}.{found[3]}"
    found = re.fullmatch(r"base\.conv([67])\.(weight|bias)", key)
    if found:
        return f"backbone.body.fc{found[1]}.0.{found[2]}"
    found = re.fullmatch(r"aux_convs\.conv(\d+)_([12])\.(weight|bias)", key)
    if found:
        return f"neck.extra.extra{int(found[1]) - 7}.{2 * (int(found[2]) - 1)}.{found[3]}"
    found = re.fullmatch(r"pred_convs\.(cl|loc)_conv(7|\d+_[23])\.(weight|bias)", key)
    if found and found[2] in TUTORIAL_MAPS:
        part = "classification" if found[1] == "cl" else "regression"
        return f"head.{part}.{TUTORIAL_MAPS.index(found[2])}.{found[3]}"
    return None


def _renamed(
    state: StateDict, rename: Callable[[str], str | None], detector: nn.Module, source: str
) -> dict[str, Tensor]:
    """Every key renamed; L2Norm's scale, which others keep as [1,C,1,1], flattened."""
    return renamed_state(
        state,
        rename,
        detector,
        source=source,
        convert=lambda name, value: value.reshape(-1) if name.startswith("neck.l2_norm.") else value,
    )
