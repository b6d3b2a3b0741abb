"""What ``detzoo bench`` does: several detectors under one protocol, as a table or JSON."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detzoo.benchmark.speed import Benchmark, benchmark
from detzoo.data import open_dataset
from detzoo.detector_loading import is_run, load_detector
from detzoo.errors import DataError, DetzooError
from detzoo.runtime.progress import progress_bar
from detzoo.runtime.text_table import MEASURED, Table, protocol_note

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.runtime.switches import Switches
    from detzoo.types import DetectionSettings


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
) -> list[Benchmark]:
    """Benchmark each target in turn; arguments as on the command line."""
    shape = parse_size(size)
    images = images_of(open_dataset(data, split), max(8, batch)) if data is not None else None
    results = []
    with progress_bar("benchmarking", len(targets), unit="detectors") as advance:
        for target in targets:
            detector = load_detector(target, set_=set_, weights="optional")
            result = benchmark(
                detector,
                device=device,
                batch=batch,
                size=shape,
                images=images,
                iterations=iterations,
                warmup=warmup,
                score_threshold=settings.score_threshold,
                nms_iou=settings.nms_iou,
                keep=settings.keep,
                switches=switches,
            )
            if not is_run(target) and not detector.recipe.values["weights"]:
                result.protocol["weights"] = "untrained: post-processing takes another time after training"
            results.append(result)
            advance(1)
    return results


def parse_size(text: str) -> tuple[int, int]:
    """``480x640`` -> (480, 640)."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None or "0" in (found[1], found[2]):
        raise DetzooError(f"--size {text!r} is not HEIGHTxWIDTH, as 480x640")
    return int(found[1]), int(found[2])


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


def render(results: Sequence[Benchmark], *, as_json: bool) -> str:
    """A table with its protocol, or everything as JSON."""
    if as_json:
        return json.dumps([result.as_dict() for result in results], indent=1)
    rows: list[dict[str, Any]] = [{"name": result.name, **result.row()} for result in results]
    notes = list(dict.fromkeys(protocol_note(result.protocol) for result in results))
    notes += [f"{r.name}: {r.protocol['weights']}" for r in results if "weights" in r.protocol]
    notes += [f"memory: {kind}" for kind in dict.fromkeys(r.cost.peak_memory_of for r in results)]
    return Table("benchmark", MEASURED, rows, notes).terminal(shutil.get_terminal_size().columns)
