"""Where the batches of a stage come from, cut into steps and parts, from any place in any epoch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from detzoo.errors import TrainingError
from detzoo.training import rng
from detzoo.training.plan import TrainPlan
from detzoo.training.run import Run
from detzoo.types import ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.data.loading.loader import Loader

Part = tuple[ImageBatch, Targets]


def count_images(dataset: Dataset, plan: TrainPlan) -> int:
    """Images of a dataset that the plan trains on."""
    if plan.empty_images == "keep":
        return len(dataset)
    return int(np.count_nonzero(np.diff(dataset.annotations().ends, prepend=0)))


def training_loader(run: Run, *, whole: bool = False) -> Loader:
    """The plan's batches.

    Args:
        run: its dataset, plan and settings.
        whole: every image on every process, for stages that measure the data; else this process's share, without the
            images that are left over at the end.
    """
    plan, settings = run.plan, run.settings
    return run.dataset.loader(
        plan.transforms,
        run.detector.input,
        settings.part,
        workers=run.workers,
        seed=settings.seed,
        difficult=plan.difficult,
        crowd=plan.crowd,
        empty_images=plan.empty_images,
        drop_last=not whole,
        rank=0 if whole else run.accelerator.process_index,
        world=1 if whole else settings.processes,
        channels_last=run.channels_last,
        sizes=plan.multi_scale,
        pin_memory=run.device.type == "cuda",
        masks=run.detector.needs_masks,
        proposer=run.detector.proposer,
    )


class Batches:
    """This process's share of every step.

    Args:
        run: its dataset, plan and settings.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._loader = training_loader(run)

    def epoch(self, epoch: int, start: int, steps: int) -> Iterator[list[Part]]:
        """Steps ``start`` to ``start + steps`` of an epoch, each a list of parts.

        Args:
            epoch: within the stage; earlier stages have seen other orders.
            start: steps already taken.
            steps: how many to give.

        Raises:
            TrainingError: the batches end too early.
        """
        run, size = self._run, self._run.settings.accumulate
        with rng.untouched(run.device):
            parts = self._parts(epoch, start * size)
            ahead = list(itertools.islice(parts, size if steps else 0))
        for step in range(steps):
            if len(ahead) < size:
                raise TrainingError(
                    f"the batches of epoch {epoch + 1} end after {start + step} steps of {start + steps}"
                )
            yield [(batch, self._at(epoch, start + step, targets)) for batch, targets in ahead]
            ahead = list(itertools.islice(parts, size if step + 1 < steps else 0))

    def paths(self, batch: ImageBatch) -> list[str]:
        """Files of the images of a batch."""
        return self._run.dataset.paths_of(batch.index.tolist())

    def broken(self) -> list[str]:
        """Images that could not be read so far, by path."""
        return sorted(self._loader.broken_images)

    def _at(self, epoch: int, step: int, targets: Targets) -> Targets:
        """The targets with the share of the stage that is done before a step of an epoch."""
        settings = self._run.settings
        done = epoch * settings.steps_per_epoch + step
        return dataclasses.replace(targets, progress=torch.tensor(done / settings.steps))

    def _parts(self, epoch: int, start: int) -> Iterator[Part]:
        run, settings = self._run, self._run.settings
        before, total = epoch * settings.steps_per_epoch, settings.steps
        parts = settings.accumulate
        return self._loader.batches(run.state.base_epoch + epoch, start, before=before * parts, total=total * parts)
