"""How many images per second the loader gives with two workers, against what training consumes.

    python benchmarks/loader.py --data DATA --split train [--recipe ssd_mobilenet_v2_fpn] [--mosaic] [--out loader.json]

Training is one process on all cores without the loader's workers, on batches that are ready: what a GPU, or the other
cores of a machine, would leave the loader to keep up with. The recipe's own transforms and input are used; ``--mosaic``
puts YOLOX's mosaic and MixUp in front of them, so that five images are decoded for each one that is trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import torch

import detzoo
from detzoo.data import open_dataset
from detzoo.data.loading.transforms import MixUp, Mosaic
from detzoo.types import ImageBatch, Targets


def forever(loader: Any) -> Iterator[tuple[ImageBatch, Targets]]:
    for epoch in itertools.count():
        yield from loader.batches(epoch)


def images_per_second(batches: Iterator[tuple[ImageBatch, Targets]], seconds: float, warm_up: int) -> float:
    for _ in range(warm_up):
        next(batches)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(batches)[0].index)
    return images / (time.perf_counter() - start)


def cpu_ms(batches: Iterator[tuple[ImageBatch, Targets]], count: int = 10) -> float:
    """Processor time per image in one process: on a busy machine the only figure that holds."""
    next(batches)
    images, start = 0, time.process_time()
    for _ in range(count):
        images += len(next(batches)[0].index)
    return 1000 * (time.process_time() - start) / images


def training_rate(detector: Any, batch: tuple[ImageBatch, Targets], seconds: float, device: str) -> tuple[float, float]:
    """Images a second, and processor time per image in ms."""
    detector.to(device).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6)
    batch = (batch[0].to(device), batch[1].to(device))
    images, start, spent = 0, 0.0, 0.0
    for step in itertools.count():
        if step == 2:  # the first two steps allocate
            images, start, spent = 0, time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        total = torch.stack(list(detector.losses(*batch).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        images += len(batch[0].index)
        if step > 2 and time.perf_counter() - start > seconds:
            return images / (time.perf_counter() - start), 1000 * (time.process_time() - spent) / images
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--split", default="train")
    parser.add_argument("--recipe", default="ssd_mobilenet_v2_fpn")
    parser.add_argument("--mosaic", action="store_true", help="mosaic and MixUp before the recipe's transforms")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=int, default=0, help="longest side in px of images kept in memory; 0: none")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="JSON file for the figures")
    chosen = parser.parse_args()
    data = open_dataset(chosen.data, chosen.split)
    detector: Any = detzoo.build(chosen.recipe, num_classes=len(data.classes))
    transforms = detector.train_plan.transforms
    if chosen.mosaic:
        size = detector.input.size
        transforms = [Mosaic(size), MixUp(size), *transforms]
    loader = data.loader(
        transforms,
        detector.input,
        chosen.batch,
        workers=chosen.workers,
        cache=chosen.cache,
    )
    batches = forever(loader)
    loading = images_per_second(batches, chosen.seconds, warm_up=4)
    ready = next(batches)
    del batches, loader
    own = cpu_ms(forever(data.loader(transforms, detector.input, chosen.batch, cache=chosen.cache)))
    training, training_ms = training_rate(detector, ready, chosen.seconds, chosen.device)
    figures = {
        "data": data.name,
        "recipe": chosen.recipe,
        "input": list(ready[0].pixels.shape[2:]),
        "batch": chosen.batch,
        "workers": chosen.workers,
        "transforms": [type(transform).__name__ for transform in transforms],
        "cache": chosen.cache,
        "loader_images_per_second": round(loading, 1),
        "training_images_per_second": round(training, 1),
        "ratio": round(loading / training, 2),
        "loader_cpu_ms_per_image": round(own, 2),
        "training_cpu_ms_per_image": round(training_ms, 1) if chosen.device == "cpu" else None,
        "device": torch.cuda.get_device_name() if chosen.device != "cpu" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "torch": torch.__version__,
    }
    print(json.dumps(figures, indent=1))
    if chosen.out:
        with open(chosen.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
