"""Small networks as other runtimes keep them: an OpenVINO IR, and a TensorFlow Lite file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

from tests.campaign.mutations import Files

Field: TypeAlias = "int | bytes | Sequence[int | Table]"
Table: TypeAlias = "dict[int, Field]"

IR = """\
<?xml version="1.0"?>
<net name="small" version="10">
  <layers>
    <layer id="0" name="image" type="Parameter" version="opset1"><data element_type="f32" shape="1,3,8,8"/></layer>
    <layer id="1" name="a.weight/Output_0/Data__const" type="Const"><data element_type="f32" offset="0" shape="2,3,1,1" size="24"/></layer>
    <layer id="2" name="a" type="Convolution"/>
    <layer id="3" name="b" type="Const"><data element_type="f32" offset="24" shape="1,2,1,1" size="8"/></layer>
    <layer id="4" name="sum" type="Add"/>
    <layer id="5" name="c" type="Const"><data element_type="f16" offset="32" shape="2,1,1,3,3" size="36"/></layer>
    <layer id="6" name="d" type="GroupConvolution"/>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
    <edge from-layer="1" from-port="1" to-layer="2" to-port="1"/>
    <edge from-layer="2" from-port="2" to-layer="4" to-port="0"/>
    <edge from-layer="3" from-port="1" to-layer="4" to-port="1"/>
    <edge from-layer="4" from-port="2" to-layer="6" to-port="0"/>
    <edge from-layer="5" from-port="1" to-layer="6" to-port="1"/>
  </edges>
</net>
"""  # noqa: E501


def openvino_ir() -> list[Files]:
    """A 1x1 convolution with a name and a bias, and a depthwise one of float16 with neither."""
    return [{"x.xml": IR.encode(), "x.bin": struct.pack("<8f18e", *range(8), *range(18))}]


def tflite() -> list[Files]:
    """A 1x1 convolution of float16 with a folded norm, and a depthwise one of float32 without."""
    buffers: list[Table] = [
        {}, {0: struct.pack("<6e", *range(6))}, {0: struct.pack("<2e", 1, 2)}, {0: struct.pack("<18f", *range(18))},
        {0: struct.pack("<2f", 3, 4)},
    ]  # fmt: skip
    half, single = 1, 0
    tensors: list[Table] = [
        {0: [1, 8, 8, 3], 1: single, 2: 0, 3: b"image"},
        {0: [2, 1, 1, 3], 1: half, 2: 1, 3: b"a/Conv2D"},
        {0: [2], 1: half, 2: 2, 3: b"a/BatchNorm/FusedBatchNormV3"},
        {0: [2, 1, 1, 3], 1: single, 2: 0, 3: b"a/Conv2D_dequantize"},
        {0: [2], 1: single, 2: 0, 3: b"a/BatchNorm_dequantize"},
        {0: [1, 8, 8, 2], 1: single, 2: 0, 3: b"between"},
        {0: [1, 3, 3, 2], 1: single, 2: 3, 3: b"b/depthwise"},
        {0: [2], 1: single, 2: 4, 3: b"b/depthwise;b/biases"},
        {0: [1, 8, 8, 2], 1: single, 2: 0, 3: b"end"},
    ]
    operators: list[Table] = [
        {0: 1, 1: [1], 2: [3]}, {0: 1, 1: [2], 2: [4]}, {0: 0, 1: [0, 3, 4], 2: [5]}, {0: 2, 1: [5, 6, 7], 2: [8]},
    ]  # fmt: skip
    codes: list[Table] = [{0: 3, 3: 3}, {0: 6, 3: 6}, {0: 4}]  # Conv2D, Dequantize, DepthwiseConv2D
    graph: Table = {0: tensors, 1: [0], 2: [8], 3: operators}
    return [{"x.tflite": flatbuffer({0: 3, 1: codes, 2: [graph], 4: buffers})}]


def flatbuffer(root: Table) -> bytes:
    """A FlatBuffer whose scalars take 4 bytes each, unaligned; children stand behind their parents."""
    data = bytearray(b"\0\0\0\0TFL3")

    def offset(place: int, to: int) -> None:
        struct.pack_into("<I", data, place, to - place)

    def write(table: Table) -> int:
        count = max(table, default=-1) + 1
        places = {number: 4 + 4 * rank for rank, number in enumerate(table)}
        layout = [4 + 2 * count, 4 + 4 * len(table), *(places.get(number, 0) for number in range(count))]
        data.extend(struct.pack(f"<{len(layout)}H", *layout))
        start = len(data)
        data.extend(struct.pack("<i", layout[0]) + bytes(4 * len(table)))
        for number, value in table.items():
            place = start + places[number]
            if isinstance(value, int):
                struct.pack_into("<i", data, place, value)
                continue
            offset(place, len(data))
            data.extend(struct.pack("<I", len(value)))
            if isinstance(value, bytes):
                data.extend(value)
                continue
            entries = len(data)
            data.extend(bytes(4 * len(value)))
            for rank, entry in enumerate(value):
                if isinstance(entry, int):
                    struct.pack_into("<i", data, entries + 4 * rank, entry)
                else:
                    offset(entries + 4 * rank, write(entry))
        return start

    offset(0, write(root))
    return bytes(data)
