"""How much of the machine other programs used while something was timed.

A busy machine doubles times and leaves no trace in them: medians and percentiles rise together. What tells it is the
processor time of all programs, of which this one's own is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STAT: Final = Path("/proc/stat")
MOST: Final = 0.1
"""Beyond this share a timing is told to be one of a busy machine."""


class OtherLoad:
    """Add up, over the blocks entered, the processor time that other programs used. Linux only; elsewhere unknown.

    Args:
        child: processor time so far of a process that is timed and runs still, for which the system counts none here.
    """

    def __init__(self, child: Callable[[], float] = lambda: 0.0) -> None:
        self.child = child
        self.all = self.others = 0.0
        self._begin: tuple[float, float, float] | None = None

    def __enter__(self) -> Self:
        self._begin = self._clocks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = self._clocks()
        if self._begin is not None and end is not None:
            whole, busy, own = (after - before for before, after in zip(self._begin, end, strict=True))
            self.all += whole
            self.others += max(0.0, busy - own)

    def _clocks(self) -> tuple[float, float, float] | None:
        found = clocks()
        return None if found is None else (found[0], found[1], found[2] + self.child())

    @property
    def share(self) -> float | None:
        """Processor time of others, as a part of all that the machine has; None where it is not known."""
        return self.others / self.all if self.all else None


def clocks() -> tuple[float, float, float] | None:
    """Seconds since the start, of all processors: in all, in use, and in use by this process and its children."""
    try:
        first = STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    # man 5 proc: user nice system idle iowait irq softirq steal; guest time is in user already
    ticks = [int(value) for value in first[1:9]]
    idle = ticks[3] + ticks[4]
    per_second = os.sysconf("SC_CLK_TCK")
    own = os.times()
    return sum(ticks) / per_second, (sum(ticks) - idle) / per_second, sum(own[:4])


def busy_warning(name: str, share: float | None) -> str | None:
    """What to say of a timing on a busy machine; None where it was quiet, or nobody knows."""
    if share is None or share <= MOST:
        return None
    return (
        f"{name}: busy machine: other programs used {share:.0%} of its processors during the timing, so the times are "
        "too long; repeat it when nothing else runs"
    )
