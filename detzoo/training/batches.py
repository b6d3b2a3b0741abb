"""The batches of a stage, cut into steps and parts, from any place in any epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from detzoo.errors import TrainingError
from detzoo.training import rng
from detzoo.training.stage_run import StageRun

Part = tuple[Any, Any]
"""(inputs, targets) of one forward pass."""


class StepBatches:
    """This process's share of every step.

    Args:
        running: the stage: its task, plan and settings.
    """

    def __init__(self, running: StageRun) -> None:
        self._running = running
        self._source = running.batches()

    def epoch(self, epoch: int, start: int, steps: int) -> Iterator[list[Part]]:
        """Steps ``start`` to ``start + steps`` of an epoch, each a list of parts.

        Args:
            epoch: within the stage; earlier stages have seen other orders.
            start: steps already taken.
            steps: how many to give.

        Raises:
            TrainingError: the batches end too early.
        """
        running, size = self._running, self._running.settings.accumulate
        with rng.untouched(running.device):  # starting workers takes random numbers
            parts = self._parts(epoch, start * size)
            ahead = list(itertools.islice(parts, size if steps else 0))
        for step in range(steps):
            if len(ahead) < size:
                raise TrainingError(
                    f"the batches of epoch {epoch + 1} end after {start + step} steps of {start + steps}"
                )
            # from the step, not a clock: the same on resume
            share = (self._before(epoch) + start + step) / running.settings.steps
            yield [(inputs, self._source.at(targets, share)) for inputs, targets in ahead]
            # fetched while the device computes the step
            ahead = list(itertools.islice(parts, size if step + 1 < steps else 0))

    def _before(self, epoch: int) -> int:
        """Steps of the stage before an epoch."""
        return epoch * self._running.settings.steps_per_epoch

    def _parts(self, epoch: int, start: int) -> Iterator[Part]:
        state, settings = self._running.state, self._running.settings
        return self._source.batches(
            state.base_epoch + epoch,  # a second stage sees new orders, not the first one's again
            start,
            before=self._before(epoch) * settings.accumulate,
            total=settings.steps * settings.accumulate,
        )

    def paths(self, inputs: Any) -> list[str]:
        """Files of the images of a batch."""
        return self._source.paths(inputs)

    def broken(self) -> list[str]:
        """Images that could not be read so far, by path."""
        return sorted(self._source.broken_images)
