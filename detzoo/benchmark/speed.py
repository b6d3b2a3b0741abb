"""How long a detector takes, phase by phase: before, in and after the network, and the three together.

Every number carries its protocol: times of different protocols do not belong into one column. Several detectors are
timed in turn, in blocks, so that a machine that becomes slower or busy meanwhile does so for all of them.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.benchmark.cost import Cost, foreign_cost, measure_cost, with_deployment
from detzoo.benchmark.other_load import OtherLoad
from detzoo.benchmark.phases import PHASES, PROPOSAL_PHASES, Phases, WholeCall, percentiles, synchroniser
from detzoo.errors import DetzooError
from detzoo.prediction.apply_switches import apply_switches, noise
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.predict import inference
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import device_facts, short_name, versions
from detzoo.runtime.switches import Switches
from detzoo.runtime.thread_counts import torch_threads
from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    from detzoo.interfaces.any_detector import AnyDetector

BLOCKS: Final = 5
"""Turns that each detector takes."""
FEWEST: Final = 5
"""Rounds that are made however long they take."""


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
        spread: half the range of the medians of the blocks that were timed at different moments, as a part of the
            median; None where there was one block.
        busy: part of the machine's processor time that other programs used meanwhile; None where it is not known.
        protocol: how it was measured.
    """

    name: str
    latency_ms: dict[str, dict[str, float]]
    images_per_s: float
    cost: Cost
    spread: float | None = None
    busy: float | None = None
    protocol: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def row(self) -> dict[str, Any]:
        """The numbers that tables show."""
        total = self.latency_ms["total"]
        flops = self.cost.flops
        memory = self.cost.peak_memory_bytes
        zipped = self.cost.zipped_bytes
        return {
            **({"threads": self.protocol["device"].get("threads")} if self.protocol.get("threads_asked") else {}),
            "latency_p50_ms": total["p50"],
            "latency_p95_ms": total["p95"],
            "latency_p99_ms": total["p99"],
            "latency_spread": self.spread,
            "images_per_s": self.images_per_s,
            **{
                f"{phase}_p50_ms": self.latency_ms[phase]["p50"]
                for phase in (*PHASES[:3], *PROPOSAL_PHASES)
                if phase in self.latency_ms
            },
            "params_m": None if self.cost.parameters is None else self.cost.parameters / 1e6,
            "gflops": None if flops is None else flops / 1e9,
            "peak_memory_mib": None if memory is None else memory / 2**20,
            "weights_mib": None if self.cost.weights_bytes is None else self.cost.weights_bytes / 2**20,
            "zipped_mib": None if zipped is None else zipped / 2**20,
            "joules_per_image": self.cost.joules_per_image,
        }


@dataclass(frozen=True)
class TimingOptions:
    """What is timed, and how long.

    Args:
        device: None takes the best there is.
        batch: images at once.
        size: (height, width) px of the images of noise that are used where ``images`` is None.
        images: uint8 [H,W,3] RGB each; batches take turns, the last one filled up from the start. Post-processing
            takes longer the more is found: real images give the truer time.
        iterations: most rounds of each kind.
        warmup: rounds before, which also compile and choose kernels.
        max_seconds: of measuring; fewer rounds are made where they do not fit, at least 5.
        switches: ``compile``, ``channels_last``, ``fold``, ``precision``; applied here.
        settings: in place of the recipe's.
        threads: that torch, or a foreign detector's process, computes with; None leaves their number.
        deployment: measure zipped weights and energy too.
        prepared: the switches were applied to the detector before; they are only recorded.

    Raises:
        DetzooError: a number out of its range.
    """

    device: torch.device | str | None = None
    batch: int = 1
    size: tuple[int, int] = (480, 640)
    images: Sequence[NDArray[np.uint8]] | None = None
    iterations: int = 50
    warmup: int = 10
    max_seconds: float = 20.0
    switches: Switches = field(default_factory=Switches)
    settings: DetectionSettings = field(default_factory=DetectionSettings)
    threads: int | None = None
    deployment: bool = False
    prepared: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or self.iterations < 1 or self.warmup < 0:
            raise DetzooError("batch and iterations must be 1 or more, warmup 0 or more")


class Timing:
    """The timing of one detector, a block of rounds at a time.

    Args:
        detector: with its weights.
        options: what is timed.

    Raises:
        DetzooError: no images.
        SettingError: the detector's post-process does not have a setting that is given.
    """

    def __init__(self, detector: AnyDetector, options: TimingOptions) -> None:
        self.detector, self.options = detector, options
        with torch_threads(options.threads):  # a foreign detector's process begins with their number
            self._prepare()
        self.times: dict[str, list[float]] = {phase: [] for phase in self.phases.names}
        self.blocks: list[float] = []
        self.seconds = 0.0

    def _prepare(self) -> None:
        detector, options = self.detector, self.options
        self.settings = detector.settings(options.settings)
        self.device = pick_device(None if options.device is None else str(options.device))
        images = options.images
        self.groups = grouped(images, options.batch) if images is not None else [noise(options.batch, options.size)]
        applied = apply_switches(detector, Switches() if options.prepared else options.switches, self.device)
        self.switches = options.switches if options.prepared else applied
        self.phases: Phases | WholeCall
        if isinstance(detector, ForeignDetector):
            self.phases, self.load = (
                WholeCall(detector, self.groups, self.settings),
                OtherLoad(lambda: detector.processor_seconds),
            )
        else:
            self.phases, self.load = Phases(detector, self.groups, self.device, self.settings), OtherLoad()

    def warm_up(self) -> None:
        """Rounds that do not count."""
        with torch_threads(self.options.threads), inference(self.detector, precision=self.switches.precision):
            for _ in range(self.options.warmup):
                self.phases.warm_up()

    def block(self, rounds: int) -> None:
        """Some rounds; rounds of phases and of the whole take turns, so that drift hits both."""
        wait, before, begin = synchroniser(self.device), len(self.times["total"]), time.perf_counter()
        with (
            torch_threads(self.options.threads),
            inference(self.detector, precision=self.switches.precision),
            without_collection(),
            self.load,
        ):
            for _ in range(rounds):
                if len(self.times["total"]) >= FEWEST and self._over(begin):
                    break
                self.phases.timed_round(wait, self.times)
        self.seconds += time.perf_counter() - begin
        if found := self.times["total"][before:]:
            self.blocks.append(float(np.median(found)))

    def _over(self, begin: float) -> bool:
        return self.seconds + time.perf_counter() - begin > self.options.max_seconds

    def result(self) -> Benchmark:
        """Times and costs."""
        total = self.times["total"]
        with torch_threads(self.options.threads), inference(self.detector, precision=self.switches.precision):
            cost = self._cost()
            protocol = _protocol(
                self.detector, self.device, self.groups, len(total), self.options.warmup, self.switches, self.settings
            )
        if self.options.threads is not None:
            protocol["threads_asked"] = self.options.threads
        protocol["images"] = "given" if self.options.images is not None else "noise"
        several = len(self.blocks) > 1
        return Benchmark(
            name=short_name(self.detector.name),
            latency_ms={phase: percentiles(values) for phase, values in self.times.items()},
            images_per_s=self.options.batch * len(total) / sum(total),
            spread=(max(self.blocks) - min(self.blocks)) / 2 / float(np.median(total)) if several else None,
            busy=self.load.share,
            cost=cost,
            protocol=protocol,
        )

    def _cost(self) -> Cost:
        phases, wait = self.phases, synchroniser(self.device)
        if isinstance(phases, WholeCall):
            cost, run = foreign_cost(phases.detector), phases.warm_up
        else:
            regions = phases.proposals()
            cost = measure_cost(phases.detector, phases.one(), lambda: phases.total(regions), self.device)

            def run() -> None:
                phases.total(phases.proposals())
                wait()

        if not self.options.deployment:
            return cost
        return with_deployment(cost, self.detector, run, self.options.batch, self.device)


def benchmark(detector: AnyDetector, options: TimingOptions | None = None) -> Benchmark:
    """Time one detector from decoded images to detections in original pixels.

    Args:
        detector: with its weights.
        options: what is timed, and how long.

    Raises:
        DetzooError: no images.
        SettingError: the detector's post-process does not have a setting that is given.
    """
    timing = Timing(detector, options or TimingOptions())
    timing.warm_up()
    for rounds in blocks_of(timing.options.iterations):
        timing.block(rounds)
    return timing.result()


def blocks_of(iterations: int) -> list[int]:
    """Rounds of each turn: at most ``BLOCKS`` turns of nearly the same length."""
    count = min(BLOCKS, iterations)
    return [iterations // count + (turn < iterations % count) for turn in range(count)]


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection inside: it would fall into some round."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def grouped(images: Sequence[NDArray[np.uint8]], batch: int) -> list[list[NDArray[np.uint8]]]:
    """Images in batches of one size."""
    if not images:
        raise DetzooError("benchmark got an empty list of images; give at least one, or None for noise")
    count = max(1, -(-len(images) // batch))
    return [[images[(n * batch + i) % len(images)] for i in range(batch)] for n in range(count)]


def _protocol(
    detector: AnyDetector,
    device: torch.device,
    groups: list[list[NDArray[np.uint8]]],
    rounds: int,
    warmup: int,
    switches: Switches,
    settings: DetectionSettings,
) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if isinstance(detector, ForeignDetector):
        own |= {"program": detector.described, "precision": None}
        device = detector.device
    else:
        spec = detector.input
        own["input"] = dataclasses.asdict(spec) if dataclasses.is_dataclass(spec) else None
    return {
        "timed": "decoded image in memory -> detections in original pixels; disk and decoding are not included"
        + ("" if detector.proposer is None else ", the regions of the image are"),
        "batch": len(groups[0]),
        "different_images": len({id(image) for group in groups for image in group}),
        "image_sizes": sorted({f"{p.shape[0]}x{p.shape[1]}" for group in groups for p in group}),
        "rounds": rounds,
        "warmup": warmup,
        **switches.as_dict(),
        **settings.given(),
        **own,
        "flops": "network, one image, a multiply-add counts as two",
        "device": device_facts(device),
        "versions": versions(),
    }
