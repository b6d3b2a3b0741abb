"""Layers of a published classifier beyond the backbone, into the heads that go on from there.

fc6 and fc7 of VGG16, AlexNet and CaffeNet, or the last stage of ResNet, are part of the file that ``backbone.weights``
names, but not of the backbone. A component with a parameter ``pretrained: dict[str, str] | None`` says which of its
own layers start from which layers of that file; the builder loads them once the component is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from detzoo.errors import RecipeError, WeightsError
from detzoo.runtime.near_names import near_names
from detzoo.weights.backbone import PREFIXES, is_counter
from detzoo.weights.sources import read_state_dict
from detzoo.weights.values import value_problems


def load_parts(module: nn.Module, parts: Mapping[str, str], path: str | Path) -> int:
    """Copy layers of a state dict into layers of ``module``; nothing changes unless all of them fit.

    Args:
        module: a component, such as a box head.
        parts: own layer -> layer of the file, both as paths of modules: ``{fc.0: classifier.0}``. The file's may
            stand behind any prefix that a backbone's keys may have, such as ``backbone.body.``.
        path: the file that ``backbone.weights`` names.

    Returns:
        number of tensors loaded.

    Raises:
        RecipeError: ``module`` has no such layer.
        WeightsError: the file has no such layer, or one of another shape or with values that are not finite.
    """
    state = read_state_dict(Path(path))
    own = module.state_dict(keep_vars=True)  # the parameters themselves, to be written
    found: dict[str, Tensor] = {}
    for mine, theirs in parts.items():
        layer = {k.removeprefix(f"{mine}."): v for k, v in own.items() if k.startswith(f"{mine}.")}
        if not layer:
            raise RecipeError(_no_such_layer(module, mine))
        given = _layer(state, theirs)
        if not given:
            raise WeightsError(_not_in_file(theirs, mine, state, path))
        _check(layer, given, f"{path}: layer {theirs} does not fit {mine} of {type(module).__name__}")
        found |= {f"{mine}.{k}": v for k, v in given.items() if k in layer}
    with torch.no_grad():
        for name, value in found.items():
            own[name].copy_(value)
    return len(found)


def _layer(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """What stands below ``name``, behind the first prefix that has anything there."""
    for prefix in (*PREFIXES, "body."):  # the file may be of a classifier or of a whole detector
        start = f"{prefix}{name}."
        inside = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
        if inside:
            return inside
    return {}


def _check(layer: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    wrong = [f"{name} is missing" for name in layer if name not in given and not is_counter(name)]
    wrong += [f"{name} is unknown" for name in given if name not in layer and not is_counter(name)]
    wrong += [
        f"{name} has shape {list(value.shape)} and must have {list(layer[name].shape)}"
        for name, value in given.items()
        if name in layer and value.shape != layer[name].shape
    ]
    wrong += value_problems(layer, given)
    if wrong:
        raise WeightsError(
            f"{what}: {'; '.join(wrong[:5])}. Change the widths of the head to those of the file, or leave the layer "
            "out of pretrained."
        )


def _no_such_layer(module: nn.Module, name: str) -> str:
    layers = [key for key, part in module.named_modules() if key and next(part.parameters(), None) is not None]
    near = near_names(name, layers, likeness=0.3) or layers[:3]
    return f'{type(module).__name__} has no layer "{name}" to start from weights; it has: {", ".join(near)}'


def _not_in_file(theirs: str, mine: str, state: Mapping[str, Tensor], path: str | Path) -> str:
    layers = sorted({key.rpartition(".")[0] for key in state if "." in key})
    near = near_names(theirs, layers, likeness=0.3) or layers[-3:]
    return (
        f'{path} has no layer "{theirs}", from which {mine} should start; nearest: {", ".join(near) or "none"}. '
        "Name a file of the whole classifier under backbone.weights, or set pretrained to null to start this layer "
        "from its own initialisation."
    )
