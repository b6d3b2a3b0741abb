"""How many images per second a detector manages, at the batch size that suits it best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.benchmark.phases import synchroniser
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.predict import detect_images, inference
from detzoo.runtime.switches import Precision

if TYPE_CHECKING:
    from detzoo.interfaces.any_detector import AnyDetector

LARGEST_BATCH: Final = 64
GAIN: Final = 1.02
"""A batch is better from two percent on: less is noise."""
PATIENCE: Final = 2
"""Sizes in a row without a gain after which no larger one is tried."""


@dataclass(frozen=True)
class Throughput:
    """Images per second by batch size.

    Args:
        tried: batch -> images per second, in the order of trying.
        stopped: why no larger batch was tried.
    """

    tried: dict[int, float]
    stopped: str

    @property
    def batch(self) -> int:
        """The size of the most images per second; the smallest of those within GAIN of it."""
        most = max(self.tried.values())
        return min(size for size, rate in self.tried.items() if rate * GAIN >= most)

    def row(self) -> dict[str, Any]:
        """The numbers that tables show."""
        return {"best_images_per_s": self.tried[self.batch], "best_batch": self.batch}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"tried": {str(size): rate for size, rate in self.tried.items()}, "stopped": self.stopped, **self.row()}


def best_batch(
    detector: AnyDetector,
    images: Sequence[NDArray[np.uint8]],
    device: torch.device,
    *,
    precision: Precision = "fp32",
    rounds: int = 3,
    largest: int = LARGEST_BATCH,
    max_seconds: float = 10.0,
) -> Throughput:
    """Try 1, 2, 4, 8, ... images at once, from decoded images to detections in original pixels.

    Args:
        detector: on the device, prepared.
        images: uint8 [H,W,3] RGB each; batches take turns through them.
        device: that is waited for.
        precision: of the network.
        rounds: batches that are timed of each size, after one that is not; the median counts.
        largest: batch that is tried.
        max_seconds: after which no larger batch is tried.
    """
    wait = synchroniser(device)

    def rate(batch: int) -> float:
        stream = turns(images)
        seconds = []
        for _ in range(1 + rounds):
            group = [next(stream) for _ in range(batch)]
            start, carried = time.perf_counter(), _transport(detector)
            detect_images(detector, group)
            wait()
            seconds.append(time.perf_counter() - start - (_transport(detector) - carried))
        return batch / float(np.median(seconds[1:]))

    with inference(detector, precision=precision):
        return search(rate, largest=largest, max_seconds=max_seconds)


def _transport(detector: AnyDetector) -> float:
    return detector.transport if isinstance(detector, ForeignDetector) else 0.0


def turns(images: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The stream, over and over."""
    while True:
        yield from images


def search(
    rate: Callable[[int], float],
    *,
    largest: int,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Double the batch while that pays.

    Args:
        rate: images per second of a batch size; may run out of memory.
        largest: size that is tried.
        max_seconds: after which no larger one is tried.
        clock: seconds.
    """
    begin = clock()
    tried: dict[int, float] = {}
    size, idle = 1, 0
    while True:
        try:
            found = rate(size)
        except torch.OutOfMemoryError:
            if not tried:
                raise
            torch.cuda.empty_cache()
            return Throughput(tried, f"out of memory at {size}")
        idle = 0 if not tried or found > GAIN * max(tried.values()) else idle + 1
        tried[size] = found
        if idle == PATIENCE:
            return Throughput(tried, f"nothing gained by {size}")
        if 2 * size > largest:
            return Throughput(tried, f"{largest} is the largest that is tried")
        if clock() - begin > max_seconds:
            return Throughput(tried, f"{max_seconds:g} s were over")
        size *= 2
