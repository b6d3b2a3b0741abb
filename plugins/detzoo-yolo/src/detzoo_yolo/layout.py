"""Darknet networks as data: one line of text a layer, the words being those of darknet's cfg files.

    conv 64 3            64 filters of 3x3, padded to keep the size, batch norm, leaky
    conv 64 7/2 bias     stride 2; a bias in place of batch norm
    conv 16 1 linear     another activation; also groups=8, pad=0
    max 2/2   max 5      max pooling, padded on the right first as darknet does
    up 2   avg   drop 0.5   reorg 2
    route -1 -4          those maps, one behind the other; relative, or by name
    shortcut -3          plus that map
    local 256 3          a convolution whose every cell has filters of its own
    fc 4096              fully connected
    4 x (conv 256 1, conv 512 3)
    conv 512 3 -> s16    the map leaves the network under that name

Relative numbers count layers back from the line they stand in, ``-1`` being the one before. Without a route a layer
reads the one before it, the first the (coarsest) input.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from detzoo.errors import RecipeError
from detzoo.runtime.near_names import nearest

Kind: TypeAlias = Literal["conv", "max", "up", "avg", "drop", "reorg", "route", "shortcut", "local", "fc"]
Activation: TypeAlias = Literal["leaky", "linear", "relu", "relu6", "logistic", "mish", "swish"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
ACTIVATIONS: Final[tuple[str, ...]] = get_args(Activation)
_REPEAT: Final = re.compile(r"([0-9]{1,3}) x \((.*)\)")
_SIZE: Final = re.compile(r"(\d+)(?:/(\d+))?")


@dataclass(frozen=True)
class LayerSpec:
    """One layer.

    Args:
        kind: what it is.
        filters: output channels of conv, local and fc.
        size: side of the window of conv, local and max.
        stride: of conv, local, max, and the factor of up and reorg.
        pad: px on each side, of conv and local.
        groups: of conv.
        norm: batch norm, else a bias.
        activation: after it.
        refs: the layers it reads, for route and shortcut: -1 is the one before; or names.
        probability: of drop.
        name: under which its map leaves the network.
        text: as written, for messages.
    """

    kind: Kind
    filters: int = 0
    size: int = 1
    stride: int = 1
    pad: int = 0
    groups: int = 1
    norm: bool = False
    activation: Activation = "linear"
    refs: tuple[int | str, ...] = ()
    probability: float = 0.0
    name: str | None = None
    text: str = ""


def parse_layout(lines: Sequence[str]) -> list[LayerSpec]:
    """Read a layout.

    Raises:
        RecipeError: the first line that is not understood.
    """
    if not lines:
        raise RecipeError("layers is empty: write at least one, as `conv 16 3`")
    layers: list[LayerSpec] = []
    for number, line in enumerate(lines, 1):
        try:
            layers += _line(" ".join(line.split()))
        except ValueError as error:
            raise RecipeError(f'layers: entry {number}, "{line}": {error}') from None
    return layers


def _line(line: str) -> list[LayerSpec]:
    repeat = _REPEAT.fullmatch(line)
    if repeat is None:
        return [_layer(line)]
    block = [_layer(item.strip()) for item in repeat[2].split(",")]
    if any(layer.name for layer in block):
        raise ValueError("a map with a name cannot be repeated; write its layer out")
    return block * int(repeat[1])  # frozen specs: sharing them is safe; modules are made for each


def _layer(text: str) -> LayerSpec:
    body, arrow, name = text.partition(" -> ")
    words = body.split()
    if not words or words[0] not in KINDS or (arrow and not name.isidentifier()):
        near = nearest(words[0], KINDS) if words and words[0] not in KINDS else ""
        hint = f"; {near}" if near else ""
        raise ValueError(f"a layer is one of {', '.join(KINDS)}, optionally followed by `-> name`{hint}")
    made = _READERS[words[0]](words[1:])
    return dataclasses.replace(made, name=name or None, text=text)


def _convolution(words: list[str]) -> LayerSpec:
    filters, size, stride, rest = _window(words, "conv 64 3 or conv 64 3/2")
    activation, rest = _activation(rest, "leaky")
    norm, pad, groups = True, size // 2, 1  # what most of darknet's convolutions are
    for word in rest:
        key, _, value = word.partition("=")
        if word == "bias":
            norm = False
        elif key == "groups" and value.isdigit() and int(value):
            groups = int(value)
        elif key == "pad" and value.isdigit():
            pad = int(value)
        else:
            raise ValueError(f'"{word}" is not understood; known are bias, groups=N, pad=N, {", ".join(ACTIVATIONS)}')
    if filters % groups:
        raise ValueError(f"{filters} filters cannot be cut into {groups} groups")
    return LayerSpec("conv", filters, size, stride, pad, groups, norm, activation)


def _local(words: list[str]) -> LayerSpec:
    filters, size, stride, rest = _window(words, "local 256 3")
    activation, rest = _activation(rest, "leaky")
    pad = size // 2
    if rest == ["pad=0"]:
        pad = 0
    elif rest:
        raise ValueError(f'"{rest[0]}" is not understood; known are pad=0, {", ".join(ACTIVATIONS)}')
    return LayerSpec("local", filters, size, stride, pad, activation=activation)


def _connected(words: list[str]) -> LayerSpec:
    if not words or not words[0].isdigit() or not int(words[0]):
        raise ValueError("fc needs its number of outputs, as fc 4096")
    activation, rest = _activation(words[1:], "leaky")
    if rest not in ([], ["norm"]):
        raise ValueError(f'"{rest[0]}" is not understood; known are norm, {", ".join(ACTIVATIONS)}')
    return LayerSpec("fc", int(words[0]), norm=bool(rest), activation=activation)


def _maximum(words: list[str]) -> LayerSpec:
    found = _SIZE.fullmatch(words[0]) if len(words) == 1 else None
    if found is None or not int(found[1]) or found[2] == "0":
        raise ValueError("max needs its size and stride, as max 2/2")
    return LayerSpec("max", size=int(found[1]), stride=int(found[2] or 1))


def _factor(kind: Kind) -> Callable[[list[str]], LayerSpec]:
    def read(words: list[str]) -> LayerSpec:
        if len(words) != 1 or not words[0].isdigit() or not int(words[0]):
            raise ValueError(f"{kind} needs its factor, as {kind} 2")
        return LayerSpec(kind, stride=int(words[0]))

    return read


def _average(words: list[str]) -> LayerSpec:
    if words:
        raise ValueError("avg takes nothing: it averages the whole map")
    return LayerSpec("avg")


def _dropout(words: list[str]) -> LayerSpec:
    try:
        probability = float(words[0]) if len(words) == 1 else -1.0
    except ValueError:
        probability = -1.0
    if not 0 <= probability < 1:
        raise ValueError("drop needs a probability below 1, as drop 0.5")
    return LayerSpec("drop", probability=probability)


def _route(words: list[str]) -> LayerSpec:
    return LayerSpec("route", refs=_references(words, "route -1 -4"))


def _shortcut(words: list[str]) -> LayerSpec:
    activation, rest = _activation(words, "linear")
    refs = _references(rest, "shortcut -3")
    if len(refs) != 1:
        raise ValueError("shortcut adds one map, as shortcut -3")
    return LayerSpec("shortcut", refs=(-1, *refs), activation=activation)


def _references(words: list[str], example: str) -> tuple[int | str, ...]:
    refs: list[int | str] = []
    for word in words:
        if re.fullmatch(r"-[1-9]\d*", word):
            refs.append(int(word))
        elif word.isidentifier():
            refs.append(word)
        else:
            raise ValueError(f'"{word}" is no layer: count back, as {example}, or give a name')
    if not refs:
        raise ValueError(f"it needs the layers that it reads, as {example}")
    return tuple(refs)


def _window(words: list[str], example: str) -> tuple[int, int, int, list[str]]:
    found = _SIZE.fullmatch(words[1]) if len(words) > 1 else None
    if found is None or not words[0].isdigit() or not int(words[0]) * int(found[1]) * int(found[2] or 1):
        raise ValueError(f"it needs filters and size, as {example}")
    return int(words[0]), int(found[1]), int(found[2] or 1), words[2:]


def _activation(words: list[str], default: Activation) -> tuple[Activation, list[str]]:
    chosen: list[Activation] = [word for word in words if word in ACTIVATIONS]  # type: ignore[misc]
    if len(chosen) > 1:
        raise ValueError(f"two activations: {' and '.join(chosen)}")
    return (chosen[0] if chosen else default), [word for word in words if word not in ACTIVATIONS]


_READERS: Final[dict[str, Callable[[list[str]], LayerSpec]]] = {
    "conv": _convolution,
    "max": _maximum,
    "up": _factor("up"),
    "avg": _average,
    "drop": _dropout,
    "reorg": _factor("reorg"),
    "route": _route,
    "shortcut": _shortcut,
    "local": _local,
    "fc": _connected,
}
