"""The steps from decoded images to detections in original pixels, each timed on its own and all together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.prediction.predict import detect_images, prepared, regions_of, split

if TYPE_CHECKING:
    from detzoo.interfaces import Detector
    from detzoo.prediction.foreign_detector import ForeignDetector
    from detzoo.types import DetectionSettings, ImageBatch

PHASES: Final = ("pre", "forward", "post", "total")
PROPOSAL_PHASES: Final = ("proposals", "without_proposals")
"""Further columns of a detector that looks at regions of the image: theirs, and the total less theirs."""
Regions: TypeAlias = "list[NDArray[np.float32]] | None"


class Phases:
    """The steps of ``predict``, one by one and together; ``turn`` goes on to the next batch of images."""

    def __init__(
        self,
        detector: Detector,
        groups: list[list[NDArray[np.uint8]]],
        device: torch.device,
        settings: DetectionSettings,
    ) -> None:
        self.detector, self.groups, self.device, self.settings = detector, groups, device, settings
        self.images, self.round = groups[0], 0

    def turn(self) -> None:
        """Go on to the next batch of images."""
        self.round += 1
        self.images = self.groups[self.round % len(self.groups)]

    @property
    def names(self) -> tuple[str, ...]:
        """What is timed."""
        return PHASES if self.detector.proposer is None else (*PROPOSAL_PHASES, *PHASES)

    def proposals(self) -> Regions:
        """Image-level proposals, where the detector needs them."""
        return regions_of(self.detector, self.images)

    def pre(self, regions: Regions) -> ImageBatch:
        """Preprocessing."""
        return prepared(self.detector, self.images, proposals=regions)

    def one(self) -> ImageBatch:
        """A single prepared image."""
        return prepared(self.detector, self.images[:1])

    def forward(self, batch: ImageBatch) -> Any:
        """The network."""
        return self.detector.network(batch)

    def post(self, batch: ImageBatch, seen: Any) -> Any:
        """Post-processing."""
        return split(self.detector, self.detector.finish(seen, batch, self.settings), batch)

    def total(self, regions: Regions) -> Any:
        """All of it, without waiting for the device in between."""
        return detect_images(self.detector, self.images, proposals=regions, settings=self.settings)

    def warm_up(self) -> None:
        """A round that is not timed."""
        self.turn()
        regions = self.proposals()
        self.total(regions)
        batch = self.pre(regions)
        self.post(batch, self.forward(batch))

    def timed_round(self, wait: Callable[[], None], times: dict[str, list[float]]) -> None:
        """A timed round."""
        one_round(self, wait, times)


class WholeCall:
    """A foreign detector, which has no phases: the whole is timed, without what carries images to its process."""

    names = ("total",)

    def __init__(
        self, detector: ForeignDetector, groups: list[list[NDArray[np.uint8]]], settings: DetectionSettings
    ) -> None:
        self.detector, self.groups, self.settings = detector, groups, settings
        self.rounds = 0

    def warm_up(self) -> None:
        """A round that is not timed."""
        self.rounds += 1
        self.detector.detect_images(self.groups[self.rounds % len(self.groups)], settings=self.settings)

    def timed_round(self, wait: Callable[[], None], times: dict[str, list[float]]) -> None:
        """A timed round; the call ends when its detections are here, so there is nothing to wait for."""
        start, carried = time.perf_counter(), self.detector.transport
        self.warm_up()
        times["total"].append(time.perf_counter() - start - (self.detector.transport - carried))


def one_round(runs: Phases, wait: Callable[[], None], times: dict[str, list[float]]) -> None:
    """Each phase once with the device waited for, then the whole at one go; regions of the image are made once."""
    runs.turn()
    begin = time.perf_counter()
    regions = runs.proposals()
    proposing = time.perf_counter() - begin
    wait()
    marks = [time.perf_counter()]
    batch = runs.pre(regions)
    wait()
    marks.append(time.perf_counter())
    result = runs.forward(batch)
    wait()
    marks.append(time.perf_counter())
    runs.post(batch, result)
    wait()
    marks.append(time.perf_counter())
    for phase, start, end in zip(PHASES, marks, marks[1:], strict=False):
        times[phase].append(end - start)
    start = time.perf_counter()
    runs.total(regions)
    wait()
    network = time.perf_counter() - start
    if "proposals" in times:
        times["proposals"].append(proposing)
        times["without_proposals"].append(network)
        network += proposing
    times["total"].append(network)


def synchroniser(device: torch.device) -> Callable[[], None]:
    """What waits until the device has done everything asked of it."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles in ms."""
    values = np.asarray(seconds) * 1e3
    p50, p95, p99 = (float(v) for v in np.percentile(values, [50, 95, 99]))
    return {"mean": float(values.mean()), "p50": p50, "p95": p95, "p99": p99}
