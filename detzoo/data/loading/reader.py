"""What a worker of the loader does: reads an image, augments it, and goes on to another where it cannot be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from detzoo.data.dataset import Dataset
from detzoo.data.loading.augment import augment
from detzoo.data.loading.cache import ImageCache
from detzoo.errors import DataError, DetzooError, MachineError
from detzoo.interfaces import Transform
from detzoo.prediction.image_proposals import RegionCache
from detzoo.runtime.machine_failures import machine_failure
from detzoo.types import Sample

AUGMENT = 1  # the stream of random numbers of one (seed, epoch, position); the loader has others
_MAX_REPLACEMENTS = 50  # broken images in a row before a run is given up

Failures = list[tuple[str, str]]
"""(path, message) of images that could not be read."""


class Key(NamedTuple):
    """What a worker is asked for: an image, augmented as in an epoch, and the input size of its batch.

    ``progress`` is the share of the training that is done, 0..1.
    """

    epoch: int
    position: int
    size: tuple[int, int] | None
    progress: float


@dataclasses.dataclass
class Loaded:
    """What a worker makes of one key: a sample or none, the images that failed, or a refusal that is no image's."""

    sample: Sample | None
    position: int
    failures: Failures
    size: tuple[int, int] | None = None
    refused: DetzooError | None = None


class Reader(TorchDataset[Loaded]):
    """Augmented samples by key.

    Args:
        dataset: where the images come from.
        transforms: augmentations, in order.
        seed: of the augmentations.
        positions: of the images that are used, ascending; other images of mosaic and the like are sampled from them.
        broken: an image that cannot be read is replaced by the next good one, left out, or raises. Where a transform
            asks for another image, it is replaced in any case but the last.
        masks: whether samples have masks in the end.
        regions: image-level regions, or None.
        cache: of decoded images, or None.
    """

    def __init__(
        self,
        *,
        dataset: Dataset,
        transforms: Sequence[Transform],
        seed: int,
        positions: NDArray[np.int64],
        broken: Literal["replace", "skip", "raise"],
        masks: bool,
        regions: RegionCache | None,
        cache: ImageCache | None,
    ) -> None:
        self.dataset, self.transforms, self.seed, self.positions = dataset, tuple(transforms), seed, positions
        self.broken, self.masks, self.regions, self.cache = broken, masks, regions, cache
        self._decode = masks or any(transform.needs_masks for transform in transforms)

    def __getitem__(self, key: Key) -> Loaded:
        """The sample of a key; a function of seed, epoch, position and progress alone."""
        failures: Failures = []
        row = int(np.searchsorted(self.positions, key.position))
        try:
            found = self._from(row, failures, go_on=self.broken != "skip")
            if found is None:
                return Loaded(None, key.position, failures, key.size)
            position, sample = found
            return Loaded(self._augmented(sample, position, key, failures), position, failures, key.size)
        except DetzooError as error:
            return Loaded(None, key.position, failures, key.size, error)  # as a value: see Loader.batches
        except (OSError, MemoryError) as error:
            reason = machine_failure(error)
            if reason is None:
                raise
            return Loaded(None, key.position, failures, key.size, MachineError(f"while images were loaded: {reason}"))

    def _augmented(self, sample: Sample, position: int, key: Key, failures: Failures) -> Sample:
        def another(rng: np.random.Generator) -> Sample:
            # a mosaic needs four, so broken ones are replaced
            found = self._from(int(rng.integers(len(self.positions))), failures)
            assert found is not None
            return found[1]

        # per image: independent of workers and batch
        rng = np.random.default_rng([self.seed, key.epoch, AUGMENT, position])
        sample = augment(sample, self.transforms, rng, another, key.progress)
        # masks that only a transform looked at cost time and memory from here on
        return sample if self.masks or sample.masks is None else dataclasses.replace(sample, masks=None)

    def _from(self, row: int, failures: Failures, *, go_on: bool = True) -> tuple[int, Sample] | None:
        """Position and sample of the image at a row of ``positions``; of the next good one where it is broken."""
        tries = min(_MAX_REPLACEMENTS, len(self.positions))
        for _ in range(tries):
            position = int(self.positions[row])
            try:
                return position, self._read(position)
            except DataError as error:
                if self.broken == "raise":
                    raise
                failures.append((self.dataset.paths_of([position])[0], str(error)))
            if not go_on:
                return None
            row = (row + 1) % len(self.positions)  # the next one, not a random one: repeatable
        raise DataError(
            f"{tries} images in a row cannot be read, the last one: {failures[-1][1]}; see `detzoo data check`"
        )

    def _read(self, position: int) -> Sample:
        sample = (self.cache or self.dataset).sample(position, masks=self._decode)
        if self.regions is not None and sample.proposals is None:
            boxes = self.regions.regions(position, sample.image, sample.path)
            sample = dataclasses.replace(sample, proposals=boxes)
        return sample
