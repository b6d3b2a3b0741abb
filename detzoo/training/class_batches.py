"""Batches of classified images: the same in every epoch of the same number, with any workers, from any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from detzoo.errors import DataError
from detzoo.interfaces import Normalisation
from detzoo.runtime.images import read_image
from detzoo.training.pretrain_plan import PretrainPlan

_KEPT = 0.875  # of the shorter side, when validating: 224 of 256, as usual


class Batch(NamedTuple):
    """Images that went through together.

    Args:
        pixels: uint8 [B,3,S,S] RGB.
        labels: int64 [B].
        broken: why each image that is not in it could not be read.
    """

    pixels: Tensor
    labels: Tensor
    broken: list[str]


class _Images(Dataset[tuple[Tensor | None, int, str]]):
    """Images by (epoch, index); an epoch below 0 means validation: the middle, and nothing drawn."""

    def __init__(self, items: Sequence[tuple[Path, int]], plan: PretrainPlan) -> None:
        self.items, self.seed = items, plan.seed
        size = (plan.size, plan.size)
        self.random = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=plan.crop, ratio=plan.aspect, antialias=True),
                v2.RandomHorizontalFlip(plan.flip),
            ]
        )
        self.middle = v2.Compose([v2.Resize(round(plan.size / _KEPT), antialias=True), v2.CenterCrop(size)])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, task: tuple[int, int]) -> tuple[Tensor | None, int, str]:
        epoch, index = task
        path, label = self.items[index]
        try:
            image = torch.from_numpy(read_image(path)).permute(2, 0, 1)
        except DataError as error:
            return None, label, str(error)
        if epoch < 0:
            return self.middle(image), label, ""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0] >> 1)
            )
            return self.random(image), label, ""


def _collate(items: list[tuple[Tensor | None, int, str]]) -> Batch:
    good = [(image, label) for image, label, _ in items if image is not None]
    pixels = torch.stack([image for image, _ in good]) if good else torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    labels = torch.tensor([label for _, label in good], dtype=torch.int64)
    return Batch(pixels, labels, [why for image, _, why in items if image is None])


class ClassBatches:
    """Batches of one list of images.

    Args:
        items: (file, label) of each.
        plan: size, crops, flips, batch and seed.
        batch: images a batch.
        workers: processes that read images.
    """

    def __init__(self, items: Sequence[tuple[Path, int]], plan: PretrainPlan, batch: int, workers: int) -> None:
        self.images, self.seed, self.batch, self.workers = _Images(items, plan), plan.seed, batch, workers

    @property
    def steps(self) -> int:
        """Whole batches of an epoch."""
        return len(self.images) // self.batch

    def training(self, epoch: int, start: int) -> Iterator[Batch]:
        """Batches ``start`` and on of an epoch, in its own order; what is left over at the end is not used."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
        rows = order[: self.steps * self.batch].reshape(-1, self.batch)[start:]
        return self._load([[(epoch, int(index)) for index in row] for row in rows])

    def validation(self) -> Iterator[Batch]:
        """All images in order."""
        indices = range(len(self.images))
        return self._load([[(-1, i) for i in indices[at : at + self.batch]] for at in indices[:: self.batch]])

    def _load(self, tasks: list[list[tuple[int, int]]]) -> Iterator[Batch]:
        # a generator of its own: starting workers draws a number, which shall not be one of the training's
        loader = DataLoader(
            self.images,
            batch_sampler=tasks,
            num_workers=self.workers,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        return iter(loader)


def normalised(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """float32 [B,3,S,S] of bytes RGB, in the network's order of channels."""
    x = pixels.float()
    if normalisation.channels == "bgr":
        x = x.flip(1)
    if normalisation.pixel_range == 1:
        x = x / 255
    mean, std = (
        torch.tensor(values, device=x.device).view(1, 3, 1, 1) for values in (normalisation.mean, normalisation.std)
    )
    return (x - mean) / std
