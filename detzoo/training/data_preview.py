"""Drawn samples, as they lie on the disk or as training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detzoo.builder import build_component
from detzoo.data.dataset import Dataset
from detzoo.data.loading.augment import augment
from detzoo.interfaces import Transform
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.drawing import draw_sample
from detzoo.runtime.folder_claim import locked_folder
from detzoo.runtime.own_drawings import write_drawing
from detzoo.types import Sample


def draw_samples(
    data: Dataset, out: Path, count: int, transforms: Sequence[Transform] = (), seed: int = 0
) -> Iterator[Path]:
    """Write the first images with their boxes as PNG files, as at the beginning of training; yields their paths."""

    def another(rng: np.random.Generator) -> Sample:
        return data.sample(int(rng.integers(len(data))))

    with locked_folder(out, what="data show"):
        for position in range(min(count, len(data))):
            rng = np.random.default_rng([seed, position])  # each image alone: another count shows the same first ones
            sample = augment(data.sample(position), transforms, rng, another)
            path = out / f"{position:05d}_{Path(sample.path).stem}.png"
            write_drawing(path, draw_sample(sample, data.classes), by="data show")
            yield path


def recipe_transforms(name: str) -> list[Transform]:
    """The augmentations of a recipe, built."""
    values = load_recipe(name).values
    size = values["input"].get("size")
    supplies = {"input_size": tuple(size) if size else None}
    wanted = (values.get("train") or {}).get("transforms", [])
    built: list[Transform] = [build_component("transform", config, **supplies) for config in wanted]
    return built
