"""The convolutions of a TensorFlow Lite file: a FlatBuffer of tensors, and of operators that read them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detzoo.errors import WeightsError

IDENTIFIER: Final = b"TFL3"
CONV, DEPTHWISE, DEQUANTIZE = 3, 4, 6
_TYPES: Final = {0: "<f4", 1: "<f2"}
_LAYOUTS: Final = {CONV: (0, 3, 1, 2), DEPTHWISE: (3, 0, 1, 2)}
"""From [outputs, height, width, inputs], and of a depthwise one [1, height, width, outputs]."""


@dataclass(frozen=True)
class _Table:
    """A table of a FlatBuffer: fields by number, as the schema lists them; absent ones have their default."""

    data: bytes
    at: int

    def _field(self, number: int) -> int | None:
        layout = self.at - _number(self.data, "<i", self.at)
        place = 4 + 2 * number
        offset = _number(self.data, "<H", layout + place) if place < _number(self.data, "<H", layout) else 0
        return self.at + offset if offset else None

    def number(self, number: int, kind: str, default: int = 0) -> int:
        place = self._field(number)
        return default if place is None else _number(self.data, kind, place)

    def _vector(self, number: int, size: int) -> tuple[int, int]:
        """Where a vector starts, and how many entries of ``size`` bytes it has."""
        place = self._field(number)
        if place is None:
            return 0, 0
        start = place + _number(self.data, "<I", place)
        count = _number(self.data, "<I", start)
        if start + 4 + count * size > len(self.data):
            raise struct.error("a list reaches beyond the end")
        return start + 4, count

    def tables(self, number: int) -> list[_Table]:
        start, count = self._vector(number, 4)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, place + _number(self.data, "<I", place)) for place in places]

    def numbers(self, number: int) -> list[int]:
        start, count = self._vector(number, 4)
        return list(struct.unpack_from(f"<{count}i", self.data, start))

    def bytes(self, number: int) -> bytes:
        start, count = self._vector(number, 1)
        return self.data[start : start + count]


def _number(data: bytes, kind: str, at: int) -> int:
    if at < 0:  # unpack_from would count from the end
        raise struct.error("an offset points before the start")
    return int(struct.unpack_from(kind, data, at)[0])


def read_tflite(path: Path) -> dict[str, Tensor]:
    """Weights and biases of a file's convolutions, in the order in which it runs them.

    Args:
        path: of a file whose weights are float32, or float16 that it turns into float32 itself.

    Returns:
        float32 tensors on the CPU in PyTorch's layout. A layer into which a batch norm was folded has only a number:
        ``#012.Conv.weight``, as ``detzoo.weights.onnx_initialisers`` calls them; others keep their name:
        ``BoxPredictor_0/ClassPredictor.weight``.

    Raises:
        WeightsError: no such file, damaged, or quantised to whole numbers.

    Source: tensorflow/lite/schema/schema.fbs, for the numbers of fields, types and operators.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from None
    if data[4:8] != IDENTIFIER:
        raise WeightsError(
            f"{path} is no TensorFlow Lite file: {IDENTIFIER.decode()} does not stand at its bytes 4 to 8"
        )
    try:
        found = _convolutions(path, _Table(data, _number(data, "<I", 0)))
    except (struct.error, IndexError, ValueError, UnicodeDecodeError, KeyError) as error:
        raise WeightsError(f"{path} is damaged: {error}. Fetch it again.") from None
    if not found:
        raise WeightsError(f"{path} has no convolutions in it")
    return found


def _convolutions(path: Path, model: _Table) -> dict[str, Tensor]:
    # byte-sized codes of old files, and their successor
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    buffers = model.tables(4)
    graph = model.tables(2)[0]
    tensors, operators = graph.tables(0), graph.tables(3)
    steps = [(codes[op.number(0, "<I")], op.numbers(1), op.numbers(2)) for op in operators]
    halves = {outputs[0]: inputs[0] for code, inputs, outputs in steps if code == DEQUANTIZE}
    found: dict[str, Tensor] = {}
    layers = [(code, inputs) for code, inputs, _ in steps if code in _LAYOUTS]
    for number, (code, inputs) in enumerate(layers):
        if len(inputs) != 3 or min(inputs) < 0:
            raise WeightsError(
                f"{path}: convolution {number} has no bias; only files that give each one a bias are read"
            )
        weight, bias = (tensors[halves.get(place, place)] for place in inputs[1:])
        name = bias.bytes(3).decode()
        # names of layers that were joined stand side by side
        key = f"#{number:03d}.Conv" if "BatchNorm" in name else name.rpartition(";")[2].removesuffix("/biases")
        found[f"{key}.weight"] = _values(path, weight, buffers, sides=4).permute(_LAYOUTS[code]).contiguous()
        found[f"{key}.bias"] = _values(path, bias, buffers, sides=1)
    return found


def _values(path: Path, tensor: _Table, buffers: list[_Table], *, sides: int) -> Tensor:
    name, kind, shape = tensor.bytes(3).decode(), tensor.number(1, "<b"), tensor.numbers(0)
    if kind not in _TYPES:
        raise WeightsError(f"{path}: {name} is quantised (type {kind}); take a file of float32 or float16 weights")
    values = np.frombuffer(buffers[tensor.number(2, "<I")].bytes(0), _TYPES[kind])
    if len(shape) != sides or min(shape) < 1 or math.prod(shape) != len(values):
        raise ValueError(f"{name} has {len(values)} values for a shape of {shape}")
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
