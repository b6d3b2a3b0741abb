"""Drawn samples, as they lie on the disk or as training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from detzoo.data.dataset import Dataset
from detzoo.interfaces import Transform


def draw_samples(
    data: Dataset, out: Path, count: int, transforms: Sequence[Transform] = (), seed: int = 0
) -> Iterator[Path]:
    """Write the first images with their boxes as PNG files; yields their paths."""
    from detzoo.runtime.drawing import draw_sample

    out.mkdir(parents=True, exist_ok=True)
    for position in range(min(count, len(data))):
        sample = data.sample(position)
        rng = np.random.default_rng([seed, position])
        for transform in transforms:
            sample = transform(sample, rng)
        path = out / f"{position:05d}_{Path(sample.path).stem}.png"
        _, encoded = cv2.imencode(".png", draw_sample(sample, data.classes)[:, :, ::-1])
        path.write_bytes(encoded.tobytes())
        yield path


def recipe_transforms(name: str) -> list[Transform]:
    """The augmentations of a recipe, built."""
    from detzoo.builder import build_component
    from detzoo.recipes.recipe import load_recipe

    plan = load_recipe(name).values.get("train") or {}
    built: list[Transform] = [build_component("transform", config) for config in plan.get("transforms", [])]
    return built
