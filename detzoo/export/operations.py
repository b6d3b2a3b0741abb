"""Operations in ONNX that its exporter does not know, or translates otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torchvision  # registers torch.ops.torchvision.roi_pool

from detzoo.ops import exported as _registered  # torch.ops.detzoo.nms_keep
from detzoo.ops.nms import float32_at_most

del _registered, torchvision


def nms_keep(boxes: Any, scores: Any, group: Any, valid: Any, iou: float) -> Any:
    """``detzoo::nms_keep`` in ONNX: NonMaxSuppression over [B,groups,N], and what it chose as bool [B,N]."""
    op = _operations()

    def row(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    one = op.Constant(value_int=1)
    groups = op.Range(op.Constant(value_int=0), op.Add(op.ReduceMax(group, keepdims=0), one), one)
    member = op.And(
        op.Equal(op.Unsqueeze(group, row(1)), op.Reshape(groups, row(1, -1, 1))), op.Unsqueeze(valid, row(1))
    )
    apart = op.Where(member, op.Unsqueeze(scores, row(1)), op.Constant(value_float=-1.0))  # [B,groups,N]
    chosen = op.NonMaxSuppression(
        boxes,
        apart,
        op.Shape(scores, start=1, end=2),
        op.Constant(value_floats=[float32_at_most(iou)]),
        op.Constant(value_floats=[-0.5]),
    )  # [kept,3]: image, group, box
    places = op.Gather(chosen, row(0, 2), axis=1)
    nothing = op.ConstantOfShape(op.Shape(scores), value=_zero())
    ones = op.Add(op.Mul(op.Gather(chosen, op.Constant(value_int=0), axis=1), op.Constant(value_int=0)), one)
    return op.Cast(op.ScatterND(nothing, places, ones), to=9)  # bool


def sort_stable(values: Any, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """``aten::sort`` in ONNX: TopK over everything, which puts the earlier of equal values first."""
    op = _operations()

    count = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def roi_pool(values: Any, regions: Any, scale: float, height: int, width: int) -> tuple[Any, Any]:
    """``torchvision::roi_pool`` in ONNX, whose exporter has too few arguments for it; nobody uses its second result."""
    op = _operations()
    pooled = op.MaxRoiPool(values, regions, pooled_shape=[height, width], spatial_scale=scale)
    return pooled, pooled


def _zero() -> Any:
    import onnx

    return onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])


def _operations() -> Any:
    """ONNX's operations; untyped, for what is handed around here are values of a graph that is being made."""
    from onnxscript import opset18

    return opset18


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.detzoo.nms_keep.default: nms_keep,
    torch.ops.aten.sort.stable: sort_stable,
    torch.ops.torchvision.roi_pool.default: roi_pool,
}
