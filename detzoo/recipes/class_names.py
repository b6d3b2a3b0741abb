"""Class names of the common datasets, in label order 0..K-1; None for outputs that the data never uses."""

from __future__ import annotations

from typing import Final

from detzoo.errors import RecipeError
from detzoo.schema.describing import unknown

VOC: Final = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()  # fmt: skip

COCO: Final = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,"
    "snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,"
    "fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")

_COCO_UNUSED: Final = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""COCO category ids that were planned and never annotated."""


def _coco_90() -> list[str | None]:
    names = iter(COCO)
    return [None if category in _COCO_UNUSED else next(names) for category in range(1, 91)]


SETS: Final[dict[str, tuple[str | None, ...]]] = {
    "voc": tuple(VOC),
    "coco": tuple(COCO),
    "coco90": tuple(_coco_90()),
    "coco91": (None, *_coco_90()),
    "face": ("face",),
}
"""``coco90`` is COCO by category id minus one, as torchvision's published weights have it after the background.

``coco91`` is COCO by category id, as torchvision's RetinaNet and FCOS have it: no background, and output 0 is unused.
"""


def class_names(value: str | list[str | None] | None, num_classes: int) -> tuple[str | None, ...]:
    """The names of a recipe: a set by name, a list, or nothing.

    Raises:
        RecipeError: the set is unknown, or its length is not ``num_classes``.
    """
    if value is None:
        return (None,) * num_classes
    if isinstance(value, str):
        if value not in SETS:
            raise RecipeError(unknown("set of class names", value, SETS))
        names = SETS[value]
    else:
        names = tuple(value)
    if len(names) != num_classes:
        raise RecipeError(
            f"num_classes is {num_classes}, but classes names {len(names)} ({_shortened(value)}); "
            "make them equal, or write `classes: null`"
        )
    twice = sorted({name for name in names if name is not None and names.count(name) > 1})
    if twice:
        raise RecipeError(f"classes names {', '.join(twice)} more than once; each class has its own name")
    return names


def _shortened(value: str | list[str | None]) -> str:
    if isinstance(value, str):
        return value
    shown = ", ".join("null" if name is None else name for name in value[:3])
    return f"{shown}, ..." if len(value) > 3 else shown
