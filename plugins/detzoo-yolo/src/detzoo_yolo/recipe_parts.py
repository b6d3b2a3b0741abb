"""What a cfg's ``[net]`` and heads say, in the words of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

from detzoo_yolo.cfg import Section

CELL: Final = 32
"""Network px of the cells in which ``[region]`` counts anchors."""
PER_IMAGE: Final = {"type": "fixed", "value": 1.0, "scope": "image"}
_ANYWHERE: Final = (
    "classes", "num", "coords", "jitter", "random", "rescore", "softmax", "bias_match", "absolute", "thresh", "anchors",
    "object_scale", "noobject_scale", "class_scale", "coord_scale", "max", "max_boxes", "sqrt", "side", "mask",
    "ignore_thresh", "truth_thresh", "iou_thresh", "iou_loss", "iou_normalizer", "cls_normalizer", "obj_normalizer",
    "scale_x_y", "nms_kind", "beta_nms", "forced",
)  # fmt: skip


_ALIKE: Final = {
    "ignore_thresh": 0.5, "iou_thresh": 1, "scale_x_y": 1,
    "iou_normalizer": 1, "cls_normalizer": 1, "obj_normalizer": 1,
}  # fmt: skip
"""Options of ``[yolo]`` that a recipe has once for all heads, and their defaults."""


class Place(Protocol):
    """A head, the layer before it, and where its map stands."""

    section: Section
    predictor: Section
    stride: int


def input_of(net: Section, *, letterbox: bool) -> dict[str, Any]:
    """RGB in [0,1], resized with coinciding corners; v1 stretches, v2 and v3 keep the ratio of the sides."""
    if net.whole("channels", 3) != 3:
        raise net.refuse("channels must be 3", "channels")
    found = {
        "size": [net.whole("height", 416, least=1), net.whole("width", 416, least=1)],
        "resize": "letterbox" if letterbox else "stretch",
        "channels": "rgb",
        "mean": [0.0, 0.0, 0.0],  # darknet only divides by 255
        "std": [1.0, 1.0, 1.0],
        "pixel_range": 1,
        "sampling": "corners",
    }
    return found | ({"fill": 0.5} if letterbox else {})


def grid_parts(section: Section, predictor: Section) -> dict[str, Any]:
    """``[detection]``: head, matcher, loss and postprocess of YOLOv1."""
    section.allow(*_ANYWHERE)
    side, boxes, classes = (section.whole(key, 1, least=1) for key in ("side", "num", "classes"))
    outputs = side * side * (classes + 5 * boxes)
    if predictor.name != "connected" or predictor.whole("output", 0) != outputs:
        raise predictor.refuse(f"[detection] needs a [connected] with output={outputs} before it")
    if section.whole("softmax", 0) or section.whole("forced", 0):
        raise section.refuse("softmax=1 and forced=1 are not supported")
    return {
        "head": {
            "type": "yolo/yolo_grid",
            "boxes": boxes,
            "grid": side,
            "predictor": "connected",
            "square_root": bool(section.whole("sqrt", 0)),
        },
        "matcher": {"type": "yolo/grid_responsible"},
        "sampler": {"type": "all"},
        "loss": {
            "type": "yolo/yolo_sse",
            "coord_weight": section.number("coord_scale", 1),
            "object_weight": section.number("object_scale", 1),
            "no_object_weight": section.number("noobject_scale", 1),
            "class_weight": section.number("class_scale", 1),
            "confidence_target": "iou" if section.whole("rescore", 0) else "one",
            "half": True,  # darknet's learning rates are for gradients output - target
            "normaliser": PER_IMAGE,
        },
        "postprocess": _postprocess() | {"cut_scores": False},
    }


def anchor_parts(heads: Sequence[Place]) -> dict[str, Any]:
    """``[region]`` or ``[yolo]``: head, matcher, loss and postprocess of YOLOv2 and v3."""
    first = heads[0].section
    regional = first.name == "region"
    for head in heads:
        _check_anchor_head(head)
        _check_alike(head.section, first)
    ordered = sorted(heads, key=lambda head: head.stride)
    kernels = {head.predictor.whole("size", 1, least=1) for head in heads}
    if len(kernels) > 1:
        raise heads[1].predictor.refuse("its size differs from the first head's predictor", "size")
    sigmoid = not regional or not first.whole("softmax", 0)  # v3 has no softmax
    return {
        "head": {
            "type": "yolo/yolo_anchor",
            "scoring": "sigmoid" if sigmoid else "categorical",
            "kernel": kernels.pop(),
            "box_coder": {"type": "yolo/yolo_anchor", "scale_xy": first.number("scale_x_y", 1)},
            "anchors": {"type": "yolo/yolo_anchors", "sizes": [_sides(head) for head in ordered]},
        },
        "matcher": {
            "type": "yolo/yolo_best_anchor",
            "ignore_threshold": first.number("thresh" if regional else "ignore_thresh", 0.5),
            "also": _below_one(first.number("iou_thresh", 1)),
        },
        "sampler": {"type": "all"},
        "loss": {"type": "yolo/yolo_anchor", "normaliser": PER_IMAGE, **_weights(first, regional)},
        "postprocess": _postprocess(),
    }


def _below_one(value: float) -> float | None:
    return value if value < 1 else None


def _check_anchor_head(head: Place) -> None:
    section, predictor = head.section, head.predictor
    section.allow(*_ANYWHERE)
    outputs = len(_chosen(section)) * (5 + section.whole("classes", 20))
    same = predictor.whole("stride", 1) == 1 and predictor.whole("groups", 1) == 1
    padded = predictor.whole("size", 1) == 1 or predictor.whole("pad", 0)
    if predictor.whole("filters", 1) != outputs or not same or not padded:
        raise predictor.refuse(
            f"before [{section.name}] it must have filters={outputs} (anchors x (5 + classes)), stride 1, and keep the "
            "size of the map",
            "filters",
        )
    if section.whole("truth_thresh", 1) != 1 or section.whole("coords", 4) != 4:
        raise section.refuse("truth_thresh and coords must be 1 and 4")
    if section.name == "region" and not (section.whole("bias_match", 1) and section.whole("absolute", 1)):
        raise section.refuse("bias_match and absolute must be 1")


def _check_alike(section: Section, first: Section) -> None:
    """What a recipe has once is the same at every head."""
    for key, default in _ALIKE.items():
        if section.number(key, default) != first.number(key, default):
            raise section.refuse(f"{key} differs from the first head's; a recipe has one value for all heads", key)
    if section.text("iou_loss", "mse") != first.text("iou_loss", "mse"):
        raise section.refuse("iou_loss differs from the first head's; a recipe has one value for all heads", "iou_loss")


def _chosen(section: Section) -> Sequence[int]:
    """Numbers of the anchors that a head uses."""
    count = section.whole("num", 1, least=1)
    chosen = [int(number) for number in section.numbers("mask")]
    if section.name == "region" or not chosen:
        return range(count)
    if not all(0 <= number < count for number in chosen):
        raise section.refuse(f"mask names anchors beyond num={count}", "mask")
    return chosen


def _sides(head: Place) -> list[list[float]]:
    """(height, width) px of the anchors of a head."""
    section = head.section
    numbers, chosen = section.numbers("anchors"), _chosen(section)
    if len(numbers) != 2 * section.whole("num", 1):
        raise section.refuse(
            f"anchors has {len(numbers)} numbers, num={section.whole('num', 1)} needs twice that", "anchors"
        )
    unit = CELL if section.name == "region" else 1  # v2 writes anchors in cells, v3 in px
    # darknet: width, height
    return [[round(numbers[2 * i + 1] * unit, 4), round(numbers[2 * i] * unit, 4)] for i in chosen]


def _weights(section: Section, regional: bool) -> dict[str, Any]:
    if regional:
        return {
            "coord_weight": section.number("coord_scale", 1),
            "object_weight": section.number("object_scale", 1),
            "no_object_weight": section.number("noobject_scale", 1),
            "class_weight": section.number("class_scale", 1),
            "object_target": "iou" if section.whole("rescore", 0) else "one",
            "anchor_warmup": 12_800,  # images: region_layer.c
        }
    kind = section.text("iou_loss", "mse")
    if kind not in ("mse", "giou", "ciou"):
        raise section.refuse(f"iou_loss={kind} is not supported; supported are mse, giou, ciou", "iou_loss")
    found: dict[str, Any] = {
        "coord_weight": section.number("iou_normalizer", 0.75 if kind != "mse" else 1),
        "class_weight": section.number("cls_normalizer", 1),
        "object_weight": section.number("obj_normalizer", 1),
        "no_object_weight": section.number("obj_normalizer", 1),
    }
    return found | ({} if kind == "mse" else {"box": {"type": kind}})


def _postprocess() -> dict[str, Any]:
    return {
        "type": "detections",
        "score_threshold": 0.005,  # darknet's validation; a higher one lowers AP
        "keep": 100,
        "clip": "after",  # darknet cuts boxes only where it writes them
        "quality": "product",
        "suppress": {"type": "nms", "iou": 0.45},
    }


def plan_of(net: Section, head: Section) -> dict[str, Any]:
    """``[net]``'s training."""
    jitter = head.number("jitter", 0.2)
    transforms: list[dict[str, Any]] = [
        {"type": "mild_crop", "scale": [round(1 - jitter, 3), round(1 + jitter, 3)], "aspect": [0.8, 1.25], "p": 1.0},
        {
            "type": "yolo/darknet_colour",
            "hue": net.number("hue", 0),
            "saturation": net.number("saturation", 1),
            "exposure": net.number("exposure", 1),
        },
        {"type": "flip", "p": 0.5},
    ]
    plan: dict[str, Any] = {
        "steps": net.whole("max_batches", 100_000, least=1),
        "batch": net.whole("batch", 64, least=1),
        "optimizer": {
            "name": "sgd",
            "lr": _first_rate(net),
            "momentum": net.number("momentum", 0.9),
            "weight_decay": net.number("decay", 0.0001),
            "decay": "filters",  # darknet decays weights alone, no biases or scales
        },
        "schedule": _schedule(net),
        "transforms": transforms,
        "difficult": "train",
        "crowd": "ignore",
    }
    return plan | ({"multi_scale": {}} if head.whole("random", 0) else {})


def _scales(net: Section) -> list[tuple[int, float]]:
    """Each step with the factor that the learning rate is multiplied by from there on."""
    if net.text("policy", "constant") != "steps":
        return []
    steps, scales = net.numbers("steps"), net.numbers("scales")
    if len(steps) != len(scales):
        raise net.refuse(
            f"steps has {len(steps)} values and scales {len(scales)}; one scale per step is needed", "steps"
        )
    return [(int(step), scale) for step, scale in zip(steps, scales, strict=True)]


def _first_rate(net: Section) -> float:
    # steps=-1,100 scales=.1,10 is YOLOv2's slow start: a step that is not after the first one holds from the beginning
    # (darknet, src/network.c, get_current_rate)
    return net.number("learning_rate", 0.001) * math.prod(scale for step, scale in _scales(net) if step <= 0)


def _schedule(net: Section) -> dict[str, Any]:
    later = [(step, scale) for step, scale in _scales(net) if step > 0]
    found: dict[str, Any] = {"name": "constant"}
    if later:
        found = {"name": "step", "unit": "step", "milestones": [s for s, _ in later], "factors": [f for _, f in later]}
    burn = net.whole("burn_in", 0)
    # darknet's burn-in: power 4
    return found | ({"warmup_steps": burn, "warmup_factor": 0.0, "warmup_power": 4.0} if burn else {})
