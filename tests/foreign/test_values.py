"""What a foreign detector may give, and what its classes are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detzoo.foreign.detector import merged_names
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.loading import class_names
from detzoo.foreign.results import FoundInImage, as_arrays, check_values


def test_nothing_found_may_be_written_in_any_way() -> None:
    anything: list[Any] = [[], np.zeros(0), np.zeros((0, 4)), torch.zeros(0, 4)]
    for nothing in anything:
        (found,) = as_arrays([(nothing, [], [])], 1)
        assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
        assert [part.dtype.name for part in (found.boxes, found.labels)] == ["float32", "int64"]
        check_values(found, (10, 10), 0, "x")
    assert as_arrays([], 0) == []


def test_lists_arrays_and_tensors_are_the_same() -> None:
    boxes = torch.tensor([[1.0, 2, 3, 4]], requires_grad=True)
    for given in (([[1, 2, 3, 4]], [1], [0.0]), (boxes, boxes[:, 0], torch.zeros(1, dtype=torch.int16))):
        (found,) = as_arrays((given,), 1)
        assert (found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()) == ([[1, 2, 3, 4]], [1], [0])


def test_boxes_over_the_edge_are_fine_and_so_are_empty_ones() -> None:
    """An edge box of a network reaches beyond; one that lies beside the image is no detection of it."""
    boxes = np.array([[-5, -5, 3, 3], [8, 8, 99, 99], [4, 4, 4, 4], [-3, 2, 0, 5]], np.float32)
    check_values(FoundInImage(boxes, np.ones(4, np.float32), np.zeros(4, np.int64)), (10, 10), 1, "x")


def test_numbers_that_float32_does_not_hold_are_not_finite() -> None:
    (found,) = as_arrays([([[0, 0, 1e300, 2]], [0.5], [0])], 1)
    with pytest.raises(ForeignError, match="1 of 1 boxes are not finite"):
        check_values(found, (10, 10), 1, "x")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({1: "a", 2: "b"}, "keys are not 0..K-1"),
        ("cat", "names is str; expected a list"),
        (["a", 3], "names holds 3; expected text"),
        (["a", "b", "a"], "names holds 'a' more than once"),
        ([None], "names holds no class name"),
    ],
)
def test_names_that_are_none(names: object, told: str) -> None:
    with pytest.raises(ForeignError, match=told):
        class_names(names)


def test_names_of_a_mapping() -> None:
    assert class_names({1: "b", 0: "a"}) == ["a", "b"]


def test_aliases_may_merge_outputs() -> None:
    """By hand: car and bus become one class; the output without a name keeps its place."""
    classes, labels = merged_names(["car", None, "bus", "cat"], {"car": "vehicle", "bus": "vehicle"}, "x")
    assert classes == ("vehicle", None, "cat")
    assert labels.tolist() == [0, 1, 0, 2]
    with pytest.raises(ForeignError, match="aliases: lorry is none of its classes: car, bus"):
        merged_names(["car", "bus"], {"lorry": "truck"}, "x")
