"""Batches in an order that depends on (seed, epoch) alone: not on workers, not on where a run was interrupted.

Every image is augmented by a generator made from (seed, epoch, position), which also samples the other images of
mosaic and MixUp. So one worker or eight give the same pixels, and batch k of epoch e can be reached without loading
what comes before it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from detzoo.data.dataset import Dataset
from detzoo.data.loading.cache import ImageCache
from detzoo.data.loading.reader import Key, Loaded, Reader
from detzoo.data.loading.threads import one_thread
from detzoo.data.loading.worker_failures import batches_of
from detzoo.errors import DataError, DetzooError
from detzoo.interfaces import Proposer, Transform
from detzoo.prediction.image_proposals import RegionCache
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import Treatment, collate
from detzoo.types import ImageBatch, Targets

_LOG = logging.getLogger("detzoo.data")
_ORDER, _SIZE = 0, 2  # streams of random numbers of one (seed, epoch); 1 is the reader's


class Sizes(Protocol):
    """Input sizes that change while training; ``training.plan.MultiScale`` is one."""

    @property
    def every(self) -> int:
        """Batches with one size."""

    def size(self, base: tuple[int, int], draw: float) -> tuple[int, int]:
        """(height, width) px for a number in [0,1)."""


class Loader:
    """Prepared batches of a dataset.

    Args:
        dataset: where the images come from.
        transforms: augmentations, in order.
        spec: the detector's input.
        batch_size: images per batch and process; all processes together take ``batch_size * world``.
        shuffle: a new order each epoch.
        workers: processes that load; 0 loads in this one.
        seed: of order and augmentation.
        difficult: what becomes of difficult boxes.
        crowd: the same for crowds.
        empty_images: whether images without objects are used.
        broken: an image that cannot be read is replaced by the next good one, left out, or raises.
        drop_last: leave out the last, smaller batch; by default when shuffling more than one batch.
        rank: this process; it takes elements rank::world of each global batch.
        world: number of processes.
        masks: give masks; data without any is rejected, here and where a transform needs them.
        proposer: image-level regions, computed on the image as decoded, before cache and transforms, and kept.
        cache: longest side in px of images that are decoded once and kept in memory; 0 keeps none.
        channels_last: memory format of the pixels.
        sizes: other input sizes, the same for all processes; None keeps that of ``spec``.
        pin_memory: for copies to a GPU while it computes.
        timeout: seconds within which a batch must come from the workers; 0 waits for ever.

    Attributes:
        epoch: the epoch that ``iter()`` gives.
        broken_images: message by path, of all images that could not be read so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        transforms: Sequence[Transform],
        spec: InputSpec,
        batch_size: int,
        *,
        shuffle: bool = True,
        workers: int = 0,
        seed: int = 0,
        difficult: Treatment = "train",
        crowd: Treatment = "ignore",
        empty_images: Literal["keep", "drop"] = "keep",
        broken: Literal["replace", "skip", "raise"] = "replace",
        drop_last: bool | None = None,
        rank: int = 0,
        world: int = 1,
        masks: bool = False,
        proposer: Proposer | None = None,
        cache: int = 0,
        channels_last: bool = False,
        sizes: Sizes | None = None,
        pin_memory: bool = False,
        timeout: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"a batch needs at least one image, not {batch_size}")
        if not 0 <= rank < world:
            raise DataError(f"rank {rank} is not one of {world} processes")
        self.dataset, self.spec, self.batch_size = dataset, spec, batch_size
        self.shuffle, self.seed, self.rank, self.world = shuffle, seed, rank, world
        self.sizes = sizes
        self.epoch = 0
        self.broken_images: dict[str, str] = {}
        self.positions = _positions(dataset, empty_images)
        whole = len(self.positions) // (batch_size * world)
        # tiny data still gives its one batch
        self.drop_last = (shuffle and whole > 0) if drop_last is None else drop_last
        _check_presence(dataset)
        if masks:
            _check_masks(
                dataset,
                "this detector trains a mask head",
                "leave the head out: mask: null in the recipe, or --set mask=null",
            )
        looking = next((type(transform).__name__ for transform in transforms if transform.needs_masks), None)
        if looking is not None and not masks:
            _check_masks(dataset, f"{looking} looks at them", "leave this transform out")
        regions = None if proposer is None else RegionCache(proposer)
        reader = Reader(
            dataset=dataset,
            transforms=transforms,
            seed=seed,
            positions=self.positions,
            broken=broken,
            masks=masks,
            regions=regions,
            cache=ImageCache(dataset, cache, regions) if cache else None,
        )
        self._order = _Order(self)
        self._loader = DataLoader(
            reader,
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_Collate(spec, difficult, crowd, channels_last),
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,  # starting a worker costs seconds; the cache stays too
            pin_memory=pin_memory,
            timeout=timeout if workers else 0,
            generator=torch.Generator(),  # its own: the global one belongs to the model
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        size = self.batch_size * self.world
        return len(self.positions) // size if self.drop_last else -(-len(self.positions) // size)

    def __iter__(self) -> Iterator[tuple[ImageBatch, Targets]]:
        return self.batches(self.epoch)

    def batches(
        self, epoch: int = 0, start: int = 0, *, before: int = 0, total: int | None = None
    ) -> Iterator[tuple[ImageBatch, Targets]]:
        """The batches of an epoch.

        Args:
            epoch: decides order and augmentation.
            start: the first batch that is given; those before it are not loaded.
            before: batches of the training ahead of this epoch; with ``total`` it says how much of the training is
                done, which decides what transforms are active.
            total: batches of the whole training; None: nothing is done yet.

        Raises:
            WorkerError: a worker was killed, or gave nothing in time.
            DetzooError: what a worker rejects: too many broken images, proposals that do not fit.
        """
        self._order.epoch, self._order.start = epoch, start
        self._order.before, self._order.total = before, total
        for found in batches_of(self._loader):
            if isinstance(found, DetzooError):  # as a value: raised in a worker, its message would be a traceback
                raise found
            batch, targets, failures = found
            for path, message in failures:
                self._note(path, message)
            if len(batch.index):  # all images of a batch may be broken
                yield batch, targets

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Positions in the dataset in the order of an epoch, of all processes together."""
        if not self.shuffle:
            return self.positions
        # by seed and epoch: resuming
        return np.random.default_rng([self.seed, epoch, _ORDER]).permutation(self.positions)

    def size(self, epoch: int, batch: int) -> tuple[int, int] | None:
        """(height, width) px of a batch's input; None where it is that of ``spec``, or follows the images."""
        if self.sizes is None or self.spec.size is None:
            return None
        # the same on all ranks
        draw = np.random.default_rng([self.seed, epoch, _SIZE, batch // self.sizes.every]).random()
        return self.sizes.size(self.spec.size, float(draw))

    def _note(self, path: str, message: str) -> None:
        if path not in self.broken_images:
            _LOG.warning("left out: %s", message)
        self.broken_images[path] = message


class _Order:
    """The batch sampler: lists of keys, made in the main process for whichever worker is free."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.epoch, self.start = loader, 0, 0
        self.before, self.total = 0, None  # type: int, int | None

    def __len__(self) -> int:
        return max(0, len(self.loader) - self.start)

    def __iter__(self) -> Iterator[list[Key]]:
        loader, epoch = self.loader, self.epoch
        order, size = loader.order(epoch), loader.batch_size * loader.world
        for batch in range(self.start, len(loader)):
            # ranks share each global batch
            mine = order[batch * size : (batch + 1) * size][loader.rank :: loader.world]
            if len(mine):
                input_size = loader.size(epoch, batch)
                progress = (self.before + batch) / self.total if self.total else 0.0
                yield [Key(epoch, int(position), input_size, progress) for position in mine]


_Collated: TypeAlias = tuple[ImageBatch, Targets, list[tuple[str, str]]]
"""A batch, its targets, and (path, message) of the images that failed."""


class _Collate:
    def __init__(self, spec: InputSpec, difficult: Treatment, crowd: Treatment, channels_last: bool) -> None:
        self.spec, self.difficult, self.crowd, self.channels_last = spec, difficult, crowd, channels_last

    def __call__(self, loaded: list[Loaded]) -> _Collated | DetzooError:
        refused = next((item.refused for item in loaded if item.refused is not None), None)
        if refused is not None:
            return refused
        try:
            return self._collated(loaded)
        except DetzooError as error:
            return error

    def _collated(self, loaded: list[Loaded]) -> _Collated:
        failures = [failure for item in loaded for failure in item.failures]
        good = [(item.sample, item.position) for item in loaded if item.sample is not None]
        samples, index = [sample for sample, _ in good], [position for _, position in good]
        spec = self.spec if loaded[0].size is None else dataclasses.replace(self.spec, size=loaded[0].size)
        with one_thread():
            batch, targets = collate(samples, spec, difficult=self.difficult, crowd=self.crowd, index=index)
        if self.channels_last:
            pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
            batch = dataclasses.replace(batch, pixels=pixels)
        return batch, targets, failures


def _start_worker(_: int) -> None:
    """A worker is one thread: the processes are the parallelism."""
    cv2.setNumThreads(0)  # 0: without OpenCV's own pool, which can hang after a fork
    torch.set_num_threads(1)


def _positions(dataset: Dataset, empty_images: Literal["keep", "drop"]) -> NDArray[np.int64]:
    everything = np.arange(len(dataset), dtype=np.int64)
    kept = everything
    if empty_images == "drop":
        kept = everything[np.diff(dataset.annotations().ends, prepend=0) > 0]  # from the index: no image is opened
    if not len(kept):
        what = "images with objects" if len(dataset) else "images"
        raise DataError(f"{dataset.name} {dataset.split}: there are no {what}")
    return kept


def _check_presence(dataset: Dataset) -> None:
    """An annotation file without its images is enough to evaluate with, not to load from: say so at once."""
    if dataset.on_disk:
        first = dataset.paths_of(range(min(20, len(dataset))))  # a few: asking a slow disk for all would take long
        if not any(os.path.exists(path) for path in first):
            raise DataError(
                f"{dataset.name} {dataset.split}: none of its first {len(first)} images exists; "
                f"looked for {first[0]}; say where they are with `images:` in a data.yaml"
            )


def _check_masks(dataset: Dataset, why: str, instead: str) -> None:
    """Masks that are wanted from data without any are rejected; boxes without one among others are only counted."""
    if not dataset.has_masks:
        first = f" (the first image: {dataset.paths_of([0])[0]})" if len(dataset) else ""
        raise DataError(
            f"{dataset.name} {dataset.split}: no object has a mask{first}, and {why}. "
            "Masks are read from the outlines of COCO, LVIS, YOLO, labelme, VIA and CVAT, and from folders with one "
            f"mask image per object; without masks, {instead}"
        )
    if not dataset.on_disk:
        return
    ends = dataset.annotations().mask_ends
    without = int(np.count_nonzero(np.diff(ends, prepend=0) == 0))
    if without:
        _LOG.warning(
            "%s %s: %d of %d objects have no mask; they are left out of the mask loss",
            dataset.name,
            dataset.split,
            without,
            len(ends),
        )
