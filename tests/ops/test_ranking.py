"""Picking rows of padded batches against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.ops.ranking import best_of_each_class


@pytest.mark.parametrize("levels", [2, 1000])  # many equal scores, and few
@pytest.mark.parametrize("top", [1, 3, 50])
def test_best_of_each_class_equals_a_loop(levels: int, top: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, count, classes = 3, 20, 4
    scores = torch.randint(1, levels, (images, count * classes), generator=generator) / levels
    passed = [torch.rand(count * classes, generator=generator) < share for share in (0.9, 0.4, 0.0)]
    size = max(int(one.sum()) for one in passed)
    values, places = torch.full((images, size), -math.inf), torch.zeros(images, size, dtype=torch.int64)
    for image, one in enumerate(passed):
        own = one.nonzero().squeeze(1)
        values[image, : len(own)], places[image, : len(own)] = scores[image, own], own

    found, where = best_of_each_class(values, places, (count, classes), top)

    for image, one in enumerate(passed):
        expected = []
        for label in range(classes):
            members = [place for place in one.nonzero().squeeze(1).tolist() if place % classes == label]
            expected += sorted(members, key=lambda place: (-float(scores[image, place]), place))[:top]
        valid = found[image] > -math.inf
        assert where[image][valid].tolist() == sorted(expected)
        assert torch.equal(found[image][valid], scores[image, where[image][valid]])


def test_best_of_nothing() -> None:
    found, where = best_of_each_class(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.int64), (0, 3), 5)
    assert found.shape == where.shape == (2, 0)
