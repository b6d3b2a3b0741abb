"""The weights of an ONNX file: the constants that its convolutions and matrix products read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from detzoo.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "MatMul": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "PRelu": ("weight",),
}
"""Operators with weights, and what their inputs behind the first one are."""


def read_initialisers(path: Path) -> dict[str, Tensor]:
    """The weights of an ONNX file's layers, in the order in which the graph computes them.

    Args:
        path: of the file; weights in separate files beside it are not read.

    Returns:
        tensors on the CPU, named as the file names them where that is a name of a module's parameter
        (``head.cls_preds.0.weight``). A batch norm folded into its convolution leaves names without meaning: such a
        layer is called by its number among all layers, operator and input: ``#012.Conv.weight``. Constants that no
        layer reads (sizes, grids) are left out.

    Raises:
        WeightsError: no ONNX file, a damaged one, or the package ``onnx`` is missing.
    """
    model = _parsed(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, Tensor] = {}
    number = 0
    for node in model.graph.node:
        names = [name for name in node.input[1:] if name in constants]
        if node.op_type not in ROLES or not names:
            continue
        for name, role in zip(node.input[1:], ROLES[node.op_type], strict=False):
            if name not in constants:  # computed, or left out
                continue
            key = name if _is_parameter(name) else f"#{number:03d}.{node.op_type}.{role}"
            found[key] = torch.from_numpy(_array(path, constants[name]).copy())
        number += 1
    if not found:
        raise WeightsError(f"{path} has no layers with weights in it")
    return found


def _parsed(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise WeightsError(f"{path}: reading weights from ONNX files needs onnx: pip install 'detzoo[onnx]'") from None
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf has its own kinds of errors, which are not public
        raise WeightsError(f"{path} is not an ONNX file, or damaged: {str(error).splitlines()[0]}") from None


def _is_parameter(name: str) -> bool:
    return name.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var") and "." in name


def _array(path: Path, tensor: Any) -> NDArray[Any]:
    import onnx
    from onnx import numpy_helper

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise WeightsError(
            f"{path}: its weights lie in separate files; save it as one file (onnx.save) and import that"
        )
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise WeightsError(f"{path}: {tensor.name} cannot be read: {str(error).splitlines()[0]}") from None


def layers_of(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """What ``read_initialisers`` numbered, layer by layer: ``{"weight": ..., "bias": ...}`` each, in their order."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("#"):
            number, _, role = key.split(".")
            layers.setdefault(number, {})[role] = value
    return list(layers.values())
