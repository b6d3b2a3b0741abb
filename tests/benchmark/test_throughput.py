"""The search for the best batch, with made-up rates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from detzoo.benchmark.throughput import Throughput, search


def rates(*values: float) -> Callable[[int], float]:
    """Images a second at 1, 2, 4, ...; memory runs out where they end."""

    def rate(batch: int) -> float:
        place = batch.bit_length() - 1
        if place >= len(values):
            raise torch.OutOfMemoryError
        return values[place]

    return rate


@pytest.mark.parametrize(
    ("values", "batch", "tried", "stopped"),
    [
        ((10, 15, 18, 17, 18), 4, 5, "nothing gained by 16"),
        ((10, 9, 12, 13, 10, 10), 8, 6, "nothing gained by 32"),  # one bad size does not end it
        ((10, 10.1, 10.2), 1, 3, "nothing gained by 4"),  # two percent are noise: the smallest
        ((10, 20), 2, 2, "out of memory at 4"),
        ((1, 2, 4, 8, 16, 32, 64, 128), 64, 7, "64 is the largest that is tried"),
    ],
)
def test_search(values: tuple[float, ...], batch: int, tried: int, stopped: str) -> None:
    found = search(rates(*values), largest=64, max_seconds=100, clock=lambda: 0.0)
    assert (found.batch, len(found.tried), found.stopped) == (batch, tried, stopped)


def test_time_is_limited() -> None:
    ticks = iter([0.0, 4.0, 11.0])
    found = search(rates(1, 2, 4, 8), largest=64, max_seconds=10, clock=lambda: next(ticks))
    assert found.as_dict() == {
        "tried": {"1": 1, "2": 2},
        "stopped": "10 s were over",
        "best_images_per_s": 2,
        "best_batch": 2,
    }
    assert found.row() == {"best_images_per_s": 2, "best_batch": 2}


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        search(rates(), largest=64, max_seconds=1)


def test_a_single_size() -> None:
    assert Throughput({1: 3.0}, "").batch == 1
