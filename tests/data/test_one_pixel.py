"""Images of one row, one column, one pixel go through what mirrors and turns them into a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo.data.loading.transforms import Flip, QuarterTurn, VerticalFlip
from detzoo.interfaces import Transform
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import collate
from detzoo.runtime.contiguous import contiguous
from detzoo.runtime.images import read_image
from detzoo.types import Sample

SIZES = [(1, 1), (1, 5), (5, 1)]


def sample(size: tuple[int, int]) -> Sample:
    height, width = size
    return Sample(
        image=np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3),
        boxes=np.array([[0, 0, width, height]], np.float32),
        labels=np.zeros(1, np.int64),
        difficult=np.zeros(1, np.bool_),
        crowd=np.zeros(1, np.bool_),
        image_id=1,
        path="a.png",
        masks=np.ones((1, height, width), np.uint8),
    )


def no_other(*, plain: bool = False) -> Sample:
    raise AssertionError


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [lambda: Flip(p=1), lambda: VerticalFlip(p=1), lambda: QuarterTurn(p=1)])
def test_mirrored_and_turned(make: Callable[[], Transform], size: tuple[int, int]) -> None:
    seen = set()
    for seed in range(8):  # quarter turns of every number
        found = make()(sample(size), np.random.default_rng(seed), no_other)
        batch, targets = collate([found], InputSpec(size=(8, 8)))
        assert batch.pixels.shape == (1, 3, 8, 8)
        assert targets.boxes[0, 0].tolist() == [0, 0, 8, 8]
        seen.add(found.image.shape[:2])
    assert seen <= {size, size[::-1]}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("turn", [lambda a: a[:, ::-1], lambda a: a[::-1], np.rot90, lambda a: a[::-1, ::-1]])
def test_arrays_that_torch_takes(turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], size: tuple[int, int]) -> None:
    array = turn(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3))
    for made in (contiguous(array), read_image(array)):
        assert np.array_equal(torch.from_numpy(made).numpy(), array)


def test_nothing_is_copied_without_need() -> None:
    array = np.zeros((4, 4), np.uint8)
    assert contiguous(array) is array
