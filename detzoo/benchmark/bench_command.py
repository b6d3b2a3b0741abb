"""What ``detzoo bench`` does: several detectors under one protocol, as a table or JSON."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detzoo.benchmark.in_turn import benchmark_in_turn
from detzoo.benchmark.other_load import busy_warning
from detzoo.benchmark.speed import BLOCKS, Benchmark, Timing, TimingOptions
from detzoo.data import open_dataset
from detzoo.detector_loading import find_target, is_run, load_any_detector
from detzoo.errors import DataError, DetzooError
from detzoo.runtime.isolated import Failure, isolated
from detzoo.runtime.progress import progress_bar
from detzoo.runtime.sizes import parse_size
from detzoo.runtime.text_table import MEASURED, Table, protocol_note
from detzoo.runtime.thread_counts import torch_threads

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.runtime.switches import Switches
    from detzoo.types import DetectionSettings


@dataclass(frozen=True)
class Benched:
    """What ``detzoo bench`` gives.

    Args:
        results: of the targets that could be timed.
        failed: target -> why not.
    """

    results: list[Benchmark]
    failed: dict[str, str]


def bench_targets(
    targets: Sequence[str],
    *,
    device: str | None,
    batch: int,
    size: str,
    data: str | None,
    split: str | None,
    iterations: int,
    warmup: int,
    set_: Sequence[str] | None,
    settings: DetectionSettings,
    switches: Switches,
    runtime: str = "torch",
    threads: Sequence[int] = (),
) -> Benched:
    """Benchmark targets in turns; arguments as on the command line.

    Raises:
        DetzooError: wrong arguments, or no target could be timed.
    """
    untrained = set()
    for target in targets:
        if not is_run(target):
            recipe = find_target(target, set_=set_, weights="optional").recipe
            if recipe is not None and not recipe.values["weights"]:
                untrained.add(target)
    options = TimingOptions(
        device=device,
        batch=batch,
        size=parse_size(size),
        images=images_of(open_dataset(data, split), max(8, batch)) if data is not None else None,
        iterations=iterations,
        warmup=warmup,
        switches=switches,
        settings=settings,
        deployment=True,
    )
    timings, failed, named = {}, {}, {}
    for target in targets:
        for count in threads or (None,):
            name = target if count is None else f"{target} --threads {count}"
            named[name] = target
            # each its own detector: compiled code and weights may be laid out for a number of threads
            made = isolated(partial(_loaded, target, set_, dataclasses.replace(options, threads=count), runtime))
            if isinstance(made, Failure):
                failed[name] = made.message
            else:
                timings[name] = made
    with progress_bar("benchmarking", BLOCKS, unit="turns") as advance:
        found = benchmark_in_turn(timings, turn_done=advance)
    results = []
    for name, result in found.items():
        if isinstance(result, Failure):
            failed[name] = result.message
            continue
        if named[name] in untrained:
            result.protocol["weights"] = "untrained: post-processing takes another time after training"
        results.append(result)
    if not results:
        raise DetzooError("\n".join(why if target in why else f"{target}: {why}" for target, why in failed.items()))
    return Benched(results, failed)


def _loaded(target: str, set_: Sequence[str] | None, options: TimingOptions, runtime: str) -> Timing:
    with torch_threads(options.threads):
        return Timing(load_any_detector(target, set_=set_, weights="optional", runtime=runtime), options)


def images_of(dataset: Dataset, count: int) -> list[NDArray[np.uint8]]:
    """The first readable images of a dataset, at most ``count``."""
    images: list[NDArray[np.uint8]] = []
    for position in range(len(dataset)):
        if len(images) == count:
            break
        try:
            images.append(dataset.sample(position, masks=False).image)
        except DataError:
            continue
    if not images:
        raise DetzooError(f"{dataset.name} {dataset.split} has no image that can be read")
    return images


def render(benched: Benched, *, as_json: bool) -> str:
    """A table with its protocol, or everything as JSON."""
    results = benched.results
    if as_json:
        failures = [{"name": target, "failed": why} for target, why in benched.failed.items()]
        return json.dumps([*(result.as_dict() for result in results), *failures], indent=1)
    rows: list[dict[str, Any]] = [{"name": result.name, **result.row()} for result in results]
    notes = list(dict.fromkeys(protocol_note(result.protocol) for result in results))
    notes += [f"{r.name}: {r.protocol['weights']}" for r in results if "weights" in r.protocol]
    notes += [f"memory: {kind}" for kind in dict.fromkeys(r.cost.peak_memory_of for r in results)]
    notes += [f"energy: {kind}" for kind in dict.fromkeys(r.cost.energy_of for r in results) if kind]
    notes += [f"{r.name}: {name} could not be measured: {why}" for r in results for name, why in r.cost.failed.items()]
    notes += [f"{target}: not timed: {why}" for target, why in benched.failed.items()]
    notes += [warning for r in results if (warning := busy_warning(r.name, r.busy)) is not None]
    absent = [dict.fromkeys(r.cost.failed, "failed") for r in results]
    return Table("benchmark", MEASURED, rows, notes, absent=absent).terminal(shutil.get_terminal_size().columns)
