"""What somebody who watches a run sees: a bar on a terminal, a plain line now and then elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY: Final = 15.0
"""Seconds between plain lines."""


class Display:
    """Progress of one stage.

    Args:
        active: False shows nothing.
        total: steps of the stage.
        done: steps taken before a resume.
    """

    def __init__(self, *, active: bool, total: int, done: int) -> None:
        self.active, self.total = active, total
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._next = time.monotonic() + LINE_EVERY  # monotonic: a clock that is set does not matter
        console = Console(file=sys.stderr)  # stdout is for results
        if active and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("training", total=total, completed=done)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, epoch: int, loss: float, rate: float, images_per_second: float) -> None:
        """After each optimiser step; ``step`` counts within the stage."""
        text = f"epoch {epoch}  loss {loss:.4f}  lr {rate:.2e}  {images_per_second:.1f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif self.active and time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY
            print(f"step {step}/{self.total}  {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.active:
            print(text, file=sys.stderr, flush=True)
