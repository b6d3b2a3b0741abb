"""The training as a stage sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from detzoo.interfaces import StageContext
from detzoo.runtime.progress import progress_bar
from detzoo.training.detection_task import DetectionTask
from detzoo.training.stage_run import StageRun
from detzoo.types import ImageBatch, Targets
from detzoo.weights.checkpoint import load_checkpoint, stage_file

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.runtime.switches import Precision


class RunContext(StageContext):
    """A training of a detector, as far as its stages may read it.

    Args:
        running: the stage that is under way.
    """

    def __init__(self, running: StageRun) -> None:
        self._running, self._run = running, running.run
        task = running.run.task
        assert isinstance(task, DetectionTask)  # no other task has stages of its own
        self._task = task

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._run.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self._run.main

    @property
    def precision(self) -> Precision:
        """Of the network."""
        return self._run.settings.precision

    @property
    def out(self) -> Path:
        """The run folder."""
        return self._run.out

    @property
    def dataset(self) -> Dataset:
        """The training data."""
        return self._task.dataset

    @property
    def data_facts(self) -> dict[str, Any]:
        """Name, split, images and classes of the training data."""
        return self._run.settings.data

    def batches(self) -> Iterable[tuple[ImageBatch, Targets]]:
        """Every training image once, in the plan's order."""
        return self._running.batches(whole=True).batches(0, 0)

    def images(self, start: int = 0) -> Iterable[tuple[ImageBatch, Targets]]:
        """Training images from ``start`` on, one per batch."""
        plan, options, detector = self._running.plan, self._run.options, self._task.network
        loader = self._task.dataset.loader(
            (),
            detector.input,
            1,
            shuffle=False,
            workers=options.loading_processes,
            difficult=plan.difficult,
            crowd=plan.crowd,
            broken="skip",  # one per batch: a replacement would be counted twice
            channels_last=options.channels_last,
            proposer=detector.proposer,
        )
        return loader.batches(0, start)

    def weights_after(self, stage: str) -> dict[str, Tensor]:
        """State dict at the end of an earlier stage."""
        # from the file: a resume has no memory
        return load_checkpoint(self._run.out / stage_file(stage), parts=("model",)).model

    @contextmanager
    def progress(self, what: str, total: int, *, unit: str = "images") -> Iterator[Callable[[int], None]]:
        """A progress bar whose function also raises ``Interrupted`` where a signal came."""
        with progress_bar(what, total, shown=self._run.shown, unit=unit) as bar:

            def advance(count: int) -> None:
                bar(count)
                self._running.stop_if_wanted()

            yield advance

    def say(self, text: str) -> None:
        """Show a line."""
        self._running.say(text)

    def share(self, *modules: nn.Module) -> None:
        """Wait for every process, and take the main process's tensors."""
        self._run.accelerator.wait_for_everyone()  # the main process may still be fitting
        if self._run.accelerator.num_processes > 1:
            for module in modules:
                for value in module.state_dict().values():
                    distributed.broadcast(value, 0)
