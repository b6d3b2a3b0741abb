"""Checks of necks and heads on the maps of an image whose sides are no multiple of the strides: 38, 19, 10 cells."""

from __future__ import annotations

from typing import Final

from detzoo.testing.specimens import feature_maps, image_batch
from detzoo.testing.subject import Subject, assert_finite
from detzoo.types import FeatureSpecs

SIZE: Final = (300, 300)
"""SSD300's input: at strides of 8, 16 and 32 px it has 38, 19 and 10 cells, none of which is twice the next."""


def check_maps_of_odd_sizes(subject: Subject) -> None:
    """A neck joins maps of 38, 19 and 10 cells: a coarse map is fitted to the finer one, not doubled."""
    if _fixed(subject):
        return
    maps = subject.component.eval()(feature_maps(subject.features, SIZE))
    assert list(maps) == list(subject.component.out), f"of an image of {SIZE} px came the maps {list(maps)}"
    assert_finite(maps, "the maps of an image of 300 x 300 px")


def check_head_on_maps_of_odd_sizes(subject: Subject) -> None:
    """A head has as many candidates as predictions on maps of 38, 19 and 10 cells."""
    if _fixed(subject):
        return
    places, said = subject.component.eval()(feature_maps(subject.features, SIZE), image_batch(SIZE))
    number = places.boxes.shape[1]
    assert said.deltas.shape[1] == number, f"of 300 x 300 px came {number} candidates and {said.deltas.shape[1]} boxes"
    assert_finite((places.boxes, said.deltas), "candidates or predictions of an image of 300 x 300 px")


def _fixed(subject: Subject) -> bool:
    """Whether it is made for one size of the input, or for inputs whose sides are multiples of its strides."""
    declared: FeatureSpecs = subject.features
    return len(subject.sizes) == 1 or any(spec.size is not None for spec in declared.values())
