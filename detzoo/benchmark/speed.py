"""How long a detector takes, phase by phase: before, in and after the network, and the three together.

Every number carries its protocol: times of different protocols do not belong into one column.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.benchmark.cost import Cost, measure_cost
from detzoo.errors import DetzooError
from detzoo.prediction.apply_switches import apply_switches, noise
from detzoo.prediction.predict import detect_images, inference, prepared, regions_of, split
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import device_facts, short_name, versions
from detzoo.runtime.switches import Switches
from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    from detzoo.interfaces import Detector
    from detzoo.types import ImageBatch

PHASES: Final = ("pre", "forward", "post", "total")
PROPOSAL_PHASES: Final = ("proposals", "without_proposals")
"""Further columns of a detector that looks at regions of the image: theirs, and the total less theirs."""
Regions: TypeAlias = "list[NDArray[np.float32]] | None"


@dataclass(frozen=True)
class Benchmark:
    """Times and costs of one detector under one protocol.

    Args:
        name: of the detector.
        latency_ms: phase (pre, forward, post, total) -> mean, p50, p95, p99 in ms per batch. ``total`` is timed on its
            own, without waiting for the device between the phases. Where image-level regions are made, they are in
            ``proposals`` and in ``total``, and ``without_proposals`` is the total without them, as papers count.
        images_per_s: images per second, from the mean total.
        cost: parameters, arithmetic, memory.
        protocol: how it was measured.
    """

    name: str
    latency_ms: dict[str, dict[str, float]]
    images_per_s: float
    cost: Cost
    protocol: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def row(self) -> dict[str, Any]:
        """The numbers that tables show."""
        total = self.latency_ms["total"]
        flops = self.cost.flops
        memory = self.cost.peak_memory_bytes
        return {
            "latency_p50_ms": total["p50"],
            "latency_p95_ms": total["p95"],
            "latency_p99_ms": total["p99"],
            "images_per_s": self.images_per_s,
            **{
                f"{phase}_p50_ms": self.latency_ms[phase]["p50"]
                for phase in (*PHASES[:3], *PROPOSAL_PHASES)
                if phase in self.latency_ms
            },
            "params_m": self.cost.parameters / 1e6,
            "gflops": None if flops is None else flops / 1e9,
            "peak_memory_mib": None if memory is None else memory / 2**20,
            "weights_mib": self.cost.weights_bytes / 2**20,
        }


def benchmark(
    detector: Detector,
    *,
    device: torch.device | str | None = None,
    batch: int = 1,
    size: tuple[int, int] = (480, 640),
    images: Sequence[NDArray[np.uint8]] | None = None,
    iterations: int = 50,
    warmup: int = 10,
    max_seconds: float = 20.0,
    switches: Switches | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    keep: int | None = None,
    prepared: bool = False,
) -> Benchmark:
    """Time a detector from decoded images to detections in original pixels.

    Args:
        detector: with its weights.
        device: None takes the best there is.
        batch: images at once.
        size: (height, width) px of the images of noise that are used where ``images`` is None.
        images: uint8 [H,W,3] RGB each; batches take turns, the last one filled up from the start. Post-processing
            takes longer the more is found: real images give the truer time.
        iterations: most rounds of each kind.
        warmup: rounds before, which also compile and choose kernels.
        max_seconds: of measuring; fewer rounds are made where they do not fit, at least 5.
        switches: ``compile``, ``channels_last``, ``fold``, ``precision``; applied here.
        score_threshold: replaces the recipe's.
        nms_iou: replaces the recipe's.
        keep: detections kept per image, replaces the recipe's.
        prepared: the switches were applied to the detector before; they are only recorded.

    Raises:
        DetzooError: a number out of its range, or no images.
        SettingError: the detector's post-process does not have a setting that is given.
    """
    if batch < 1 or iterations < 1 or warmup < 0:
        raise DetzooError("batch and iterations must be 1 or more, warmup 0 or more")
    settings = detector.settings(DetectionSettings(score_threshold, nms_iou, keep))
    switches = switches or Switches()
    where = pick_device(None if device is None else str(device))
    groups = grouped(images, batch) if images is not None else [noise(batch, size)]
    applied = apply_switches(detector, Switches() if prepared else switches, where)
    applied = switches if prepared else applied
    with inference(detector, precision=switches.precision):
        runs = _Phases(detector, groups, where, settings)
        times = measure(runs, where, iterations, warmup, max_seconds)
        regions = runs.proposals()
        cost = measure_cost(detector, runs.one(), lambda: runs.total(regions), where)
        protocol = _protocol(detector, where, groups, len(times["total"]), warmup, applied, settings)
    protocol["images"] = "given" if images is not None else "noise"
    return Benchmark(
        name=short_name(detector.name),
        latency_ms={phase: percentiles(values) for phase, values in times.items()},
        images_per_s=batch * len(times["total"]) / sum(times["total"]),
        cost=cost,
        protocol=protocol,
    )


def grouped(images: Sequence[NDArray[np.uint8]], batch: int) -> list[list[NDArray[np.uint8]]]:
    """Images in batches of one size."""
    if not images:
        raise DetzooError("benchmark got an empty list of images; give at least one, or None for noise")
    count = max(1, -(-len(images) // batch))
    return [[images[(n * batch + i) % len(images)] for i in range(batch)] for n in range(count)]


class _Phases:
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
        self.round += 1
        self.images = self.groups[self.round % len(self.groups)]

    def proposals(self) -> Regions:
        return regions_of(self.detector, self.images)

    def pre(self, regions: Regions) -> ImageBatch:
        return prepared(self.detector, self.images, proposals=regions)

    def one(self) -> ImageBatch:
        return prepared(self.detector, self.images[:1])

    def forward(self, batch: ImageBatch) -> Any:
        return self.detector.network(batch)

    def post(self, batch: ImageBatch, seen: Any) -> Any:
        return split(self.detector, self.detector.finish(seen, batch, self.settings), batch)

    def total(self, regions: Regions) -> Any:
        return detect_images(self.detector, self.images, proposals=regions, settings=self.settings)


def measure(
    runs: _Phases, device: torch.device, iterations: int, warmup: int, max_seconds: float
) -> dict[str, list[float]]:
    """Seconds of each round by phase; rounds of phases and of the whole take turns, so that drift hits both."""
    wait = synchroniser(device)
    for _ in range(warmup):
        runs.turn()
        regions = runs.proposals()
        runs.total(regions)
        batch = runs.pre(regions)
        runs.post(batch, runs.forward(batch))
    names = PHASES if runs.detector.proposer is None else (*PROPOSAL_PHASES, *PHASES)
    times: dict[str, list[float]] = {phase: [] for phase in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = time.perf_counter()
        for done in range(iterations):
            if done >= 5 and time.perf_counter() - begin > max_seconds:
                break
            one_round(runs, wait, times)
    finally:
        if collecting:
            gc.enable()
    return times


def one_round(runs: _Phases, wait: Callable[[], None], times: dict[str, list[float]]) -> None:
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


def _protocol(
    detector: Detector,
    device: torch.device,
    groups: list[list[NDArray[np.uint8]]],
    rounds: int,
    warmup: int,
    switches: Switches,
    settings: DetectionSettings,
) -> dict[str, Any]:
    spec = detector.input
    return {
        "timed": "decoded image in memory -> detections in original pixels; disk and decoding are not included"
        + ("" if detector.proposer is None else ", the regions of the image are"),
        "batch": len(groups[0]),
        "different_images": len({id(image) for group in groups for image in group}),
        "image_sizes": sorted({f"{p.shape[0]}x{p.shape[1]}" for group in groups for p in group}),
        "input": dataclasses.asdict(spec) if dataclasses.is_dataclass(spec) else None,
        "rounds": rounds,
        "warmup": warmup,
        **switches.as_dict(),
        **settings.given(),
        "flops": "network, one image, a multiply-add counts as two",
        "device": device_facts(device),
        "versions": versions(),
    }
