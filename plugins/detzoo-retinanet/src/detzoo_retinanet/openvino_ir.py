"""The weights of an OpenVINO IR: an .xml file of layers, and a .bin file of the constants that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from detzoo.errors import WeightsError

CONVOLUTIONS: Final = ("Convolution", "GroupConvolution")
_TYPES: Final = {"f32": "<f4", "f16": "<f2"}
_NAMED: Final = ".weight/Output_0/Data__const"
"""Ending of a constant that kept the name of a PyTorch module's parameter through ONNX."""


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    data: Mapping[str, str]


def read_ir(path: Path) -> dict[str, Tensor]:
    """Weights and biases of an IR's convolutions, in the order in which the file lists them.

    Args:
        path: of the .xml or the .bin file; the other one stands beside it under the same name.

    Returns:
        float32 tensors on the CPU: ``fpn.lateral_convs.0.conv.weight`` where the file kept a module's name; a layer
        into which a batch norm was folded has lost it, and is called by its number: ``#012.Conv.weight``, as
        ``detzoo.weights.onnx_initialisers`` calls them.

    Raises:
        WeightsError: one of the files is missing or damaged, or there are no convolutions.
    """
    layers, inputs, outputs = _graph(path.with_suffix(".xml"))
    constants = _constants(path.with_suffix(".bin"))
    found: dict[str, Tensor] = {}
    number = 0
    for key, layer in layers.items():
        if layer.kind not in CONVOLUTIONS:
            continue
        weight = next((k for k in inputs.get(key, ()) if layers[k].kind == "Const"), None)
        if weight is None:
            raise WeightsError(f"{path}: {layer.name} computes its weights, where a constant is needed")
        name = layers[weight].name
        prefix = name.removesuffix(_NAMED) if name.endswith(_NAMED) else f"#{number:03d}.Conv"
        value = _constant(layers[weight], constants, path)
        # of groups: [groups, outputs of one, inputs of one, height, width]
        found[f"{prefix}.weight"] = value.flatten(0, 1) if layer.kind == "GroupConvolution" else value
        for add in (k for k in outputs.get(key, ()) if layers[k].kind == "Add"):
            for bias in (k for k in inputs[add] if layers[k].kind == "Const"):
                found[f"{prefix}.bias"] = _constant(layers[bias], constants, path).flatten()
        number += 1
    if not found:
        raise WeightsError(f"{path} has no convolutions in it")
    return found


def _graph(path: Path) -> tuple[dict[str, _Layer], dict[str, list[str]], dict[str, list[str]]]:
    """Layers by id, the layers that each reads in the order of its ports, and those that read it."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); an IR is an .xml and a .bin file") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise WeightsError(f"{path} is no XML, or damaged: {error}") from None
    layers = {}
    for element in root.iterfind("./layers/layer"):
        data = element.find("data")
        name, kind = element.get("name", ""), element.get("type", "")
        layers[element.get("id", "")] = _Layer(kind, name, {} if data is None else dict(data.attrib))
    inputs: dict[str, list[str]] = {}
    outputs: dict[str, list[str]] = {}
    for edge in sorted(root.iterfind("./edges/edge"), key=lambda edge: edge.get("to-port", "")):
        start, end = edge.get("from-layer", ""), edge.get("to-layer", "")
        if start not in layers or end not in layers:
            raise WeightsError(f"{path}: an edge from layer {start!r} to {end!r}, which are not both there")
        inputs.setdefault(end, []).append(start)
        outputs.setdefault(start, []).append(end)
    return layers, inputs, outputs


def _constants(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); an IR is an .xml and a .bin file") from None


def _constant(layer: _Layer, constants: bytes, path: Path) -> Tensor:
    try:
        kind = np.dtype(_TYPES[layer.data["element_type"]])
        shape = [int(side) for side in layer.data["shape"].split(",")]
        offset, size = int(layer.data["offset"]), int(layer.data["size"])
    except (KeyError, ValueError):
        raise WeightsError(f"{path}: constant {layer.name} has no floats of a given shape and place") from None
    if min(shape, default=1) < 1 or size != math.prod(shape) * kind.itemsize:
        raise WeightsError(f"{path}: constant {layer.name}: {size} bytes are not a {kind.name} tensor of {shape}")
    if offset < 0 or offset + size > len(constants):
        raise WeightsError(
            f"{path.with_suffix('.bin')} ends before constant {layer.name}: another file than the .xml, or cut off"
        )
    values = np.frombuffer(constants, kind, count=math.prod(shape), offset=offset)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
