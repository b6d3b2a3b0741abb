"""Batches of classified images: the same in every epoch of the same number, with any workers, from any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from detzoo.data.loading.worker_failures import batches_of
from detzoo.errors import DataError, TrainingError
from detzoo.interfaces import Normalisation
from detzoo.runtime.images import read_image
from detzoo.training.pretraining_plan import PretrainPlan
from detzoo.training.task import Loading

_KEPT = 0.875  # of the shorter side, when validating: 224 of 256, as usual


@dataclass(frozen=True)
class ClassImages:
    """Images that are classified together.

    Args:
        pixels: uint8 [B,3,S,S] RGB.
        index: int64 [B], positions in the list of images.
    """

    pixels: Tensor
    index: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> ClassImages:
        """The same on a device."""
        return ClassImages(self.pixels.to(device, non_blocking=non_blocking), self.index)


class _Loaded(NamedTuple):
    """What a worker gives: images, labels int64 [B], and the message of each image by path that cannot be read."""

    images: ClassImages
    labels: Tensor
    broken: dict[str, str]


class _Images(Dataset[tuple[int, Tensor | None, int, tuple[str, str]]]):
    """Images by (epoch, index); an epoch below 0 means validation: the middle, and nothing random."""

    def __init__(self, items: Sequence[tuple[Path, int]], plan: PretrainPlan, seed: int) -> None:
        self.items, self.seed = items, seed
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

    def __getitem__(self, task: tuple[int, int]) -> tuple[int, Tensor | None, int, tuple[str, str]]:
        epoch, index = task
        path, label = self.items[index]
        try:
            image = torch.from_numpy(read_image(path)).permute(2, 0, 1)
        except DataError as error:
            return index, None, label, (str(path), str(error))
        if epoch < 0:  # validation
            return index, self.middle(image), label, ("", "")
        with torch.random.fork_rng(devices=[]):  # torchvision uses the global generator; CUDA's is left alone
            torch.manual_seed(
                int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0] >> 1)
            )
            return index, self.random(image), label, ("", "")


def _collate(items: list[tuple[int, Tensor | None, int, tuple[str, str]]]) -> _Loaded:
    good = [(index, image, label) for index, image, label, _ in items if image is not None]
    pixels = torch.stack([image for _, image, _ in good]) if good else torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    index = torch.tensor([index for index, _, _ in good], dtype=torch.int64)
    labels = torch.tensor([label for _, _, label in good], dtype=torch.int64)
    return _Loaded(ClassImages(pixels, index), labels, dict(why for _, image, _, why in items if image is None))


class ClassBatches:
    """Batches of one list of images.

    Args:
        items: (file, label) of each.
        plan: size, crops and flips.
        loading: batch, seed, and this process's share.
        broken: message by path of images that cannot be read; filled.
    """

    def __init__(
        self, items: Sequence[tuple[Path, int]], plan: PretrainPlan, loading: Loading, broken: dict[str, str]
    ) -> None:
        self.images, self.loading, self.broken_images = _Images(items, plan, loading.seed), loading, broken

    def batches(
        self, epoch: int, start: int, *, before: int = 0, total: int | None = None
    ) -> Iterator[tuple[ClassImages, Tensor]]:
        """Batches ``start`` and on of an epoch, in its own order; what is left over at the end is not used.

        Crops and flips are the same throughout, so that ``before`` and ``total`` change nothing.

        Raises:
            TrainingError: no image of a batch can be read.
        """
        loading, count = self.loading, len(self.images)
        # by seed and epoch: a resume finds its place
        order = np.random.default_rng([loading.seed, epoch]).permutation(count)
        size = loading.batch * loading.world
        # [steps,own images]
        rows = order[: count // size * size].reshape(-1, size)[start:, loading.rank :: loading.world]
        for found in self._load([[(epoch, int(index)) for index in row] for row in rows]):
            if not len(found.labels):
                raise TrainingError(
                    f"none of the {len(found.broken)} images of this step can be read (the first: "
                    f"{next(iter(found.broken.values()))}): are they images?"
                )
            yield found.images, found.labels

    def at(self, targets: Tensor, share: float) -> Tensor:
        """The labels; cross-entropy does not read how far training is."""
        return targets

    def in_order(self) -> Iterator[tuple[ClassImages, Tensor]]:
        """All images that can be read, their middle, nothing random."""
        indices, size = range(len(self.images)), self.loading.batch
        for found in self._load([[(-1, i) for i in indices[at : at + size]] for at in indices[::size]]):
            if len(found.labels):
                yield found.images, found.labels

    def paths(self, inputs: ClassImages) -> list[str]:
        """Files of the images of a batch."""
        return [str(self.images.items[position][0]) for position in inputs.index.tolist()]

    def _load(self, tasks: list[list[tuple[int, int]]]) -> Iterator[_Loaded]:
        # a generator of its own: starting workers takes a random number, which must not be one of the training's
        loader = DataLoader(
            self.images,
            batch_sampler=tasks,
            num_workers=self.loading.workers,
            timeout=self.loading.timeout if self.loading.workers else 0,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        for found in batches_of(loader):
            self.broken_images.update(found.broken)
            yield found


def normalised(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """float32 [B,3,S,S] of bytes RGB, in the network's order of channels."""
    x = pixels.float()
    if normalisation.channels == "bgr":
        x = x.flip(1)  # BGR: mean and std are in the network's order
    if normalisation.pixel_range == 1:
        x = x / 255
    mean, std = (
        torch.tensor(values, device=x.device).view(1, 3, 1, 1) for values in (normalisation.mean, normalisation.std)
    )
    return (x - mean) / std
