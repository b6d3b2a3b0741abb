"""Where the weights of a detector come from: told before training, since a backbone from scratch costs accuracy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from torch import nn

from detzoo.errors import WeightsError
from detzoo.interfaces import Backbone, StartingPoint
from detzoo.schema.yaml_source import Key, show_key

NO_ADDRESSES: Final = "DETZOO_BACKBONE_WEIGHTS"
"""Environment variable: ``null`` leaves out what recipes would fetch for backbones, as backbone.weights=null does."""


def is_address(location: str) -> bool:
    """Whether weights are fetched from a network."""
    return location.startswith(("http://", "https://"))


def fetches_backbones() -> bool:
    """Whether addresses of backbone weights are followed: not on a machine that says it has no network.

    Raises:
        WeightsError: the variable holds something else than ``null``.
    """
    chosen = os.environ.get(NO_ADDRESSES)
    if chosen not in (None, "", "null"):
        raise WeightsError(f"{NO_ADDRESSES} may be null or not set, found {chosen!r}")
    return chosen != "null"


def or_choose(error: WeightsError, setting: str) -> WeightsError:
    """The error of weights that could not be fetched, and the choice that is left."""
    return WeightsError(
        f"{error}\nOr choose: --set {setting}=FILE (weights that you have), or --set {setting}=null (from "
        f'scratch, which costs accuracy on small data); in Python: overrides={{"{setting}": None}}'
    )


def starting_point(made: Mapping[Key, object], types: Mapping[Key, str], loaded: Mapping[Key, str]) -> StartingPoint:
    """From the components of a detector to what is loaded and what starts at random.

    Args:
        made: every component by its path, the detector under ().
        types: the name of each.
        loaded: where the weights of a component come from.
    """
    modules = {key: module for key, module in made.items() if isinstance(module, nn.Module)}
    owned = {key: _own_parameters(key, module, modules) for key, module in modules.items()}
    fresh = [key for key, own in owned.items() if own and key not in loaded]
    frozen = {key: sum(not parameter.requires_grad for parameter in owned[key]) for key in fresh}
    return StartingPoint(
        loaded={_shown(key, types): source for key, source in loaded.items()},
        random=tuple(_shown(key, types) for key in fresh),
        frozen={_shown(key, types): count for key, count in frozen.items() if count},
    )


def starting_lines(start: StartingPoint) -> list[str]:
    """The sentences for the first lines of a training."""
    lines = []
    rest = f"; from scratch: {', '.join(start.random)}" if start.random else ""
    if start.loaded:
        lines.append("; ".join(f"{name} from {source}" for name, source in start.loaded.items()) + rest)
    elif rest:
        lines.append(f"nothing is pretrained{rest}")
    lines += [
        f"warning: {name} starts from scratch, and small data want a pretrained one: --set {name.partition(' ')[0]}."
        "weights=FILE, or an address"
        for name in start.random
        if name.partition(" ")[0].rpartition(".")[2] == Backbone.kind
    ]
    lines += [
        f"warning: {count} tensors of {name} are frozen as they are drawn at random: load weights, or set "
        f"{name.partition(' ')[0]}.freeze=false"
        for name, count in start.frozen.items()
    ]
    return lines


def _own_parameters(key: Key, module: nn.Module, modules: Mapping[Key, nn.Module]) -> list[nn.Parameter]:
    """The parameters that no component inside it owns."""
    inner = [other for place, other in modules.items() if len(place) > len(key) and place[: len(key)] == key]
    inside = {id(parameter) for other in inner for parameter in other.parameters()}
    return [parameter for parameter in module.parameters() if id(parameter) not in inside]


def _shown(key: Key, types: Mapping[Key, str]) -> str:
    return f"{show_key(key) or 'detector'} ({types[key]})"
