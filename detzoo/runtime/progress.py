"""A bar on stderr; a plain line now and then where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress_bar(what: str, total: int, *, shown: bool = True, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of things just done.

    Args:
        what: is being done.
        total: how many things there are.
        shown: whether anything is printed at all.
        unit: what is counted.
    """
    if not shown:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)
    else:
        yield _lines(what, total, unit)


def _lines(what: str, total: int, unit: str) -> Callable[[int], None]:
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if done == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{what}: {done} of {total} {unit}", file=sys.stderr)  # stdout is for results

    return advance
