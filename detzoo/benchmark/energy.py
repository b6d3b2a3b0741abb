"""Energy of the processor, where the system tells it: RAPL's counters through /sys/class/powercap (Linux).

Source: kernel documentation, power/powercap: ``energy_uj`` counts up and begins again after ``max_energy_range_uj``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detzoo.runtime.foreign_files import is_folder

POWERCAP: Final = Path("/sys/class/powercap")
SECONDS: Final = 1.0
"""Of measuring at least: the counters move once per ms."""
_ROUNDS: Final = 5


@dataclass(frozen=True)
class Energy:
    """What an image costs.

    Args:
        joules_per_image: of the processor packages, with what they use when idle; None where nobody tells.
        of: what was measured, or why nothing was.
    """

    joules_per_image: float | None
    of: str


@dataclass(frozen=True)
class Counter:
    """One processor package.

    Args:
        file: of the counter, in microjoules.
        most: at which it begins again.
    """

    file: Path
    most: int

    def read(self) -> int:
        """Microjoules.

        Raises:
            OSError: it may not be read.
        """
        return int(self.file.read_text(encoding="ascii"))


def counters(root: Path = POWERCAP) -> list[Counter] | str:
    """The packages' counters, or why there are none. Cores and graphics are parts of a package, counted with it."""
    if not is_folder(root):
        return f"the system has no {root}"
    found = []
    for zone in sorted(root.glob("intel-rapl:*")):  # AMD's processors are called so too
        try:
            if (zone / "name").read_text(encoding="ascii").startswith("package"):
                counter = Counter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text(encoding="ascii")))
                counter.read()
                found.append(counter)
        except PermissionError:
            return f"{zone / 'energy_uj'} may be read by root alone"
        except (OSError, ValueError) as error:
            return f"{zone} cannot be read: {error}"
    return found or f"{root} has no processor package"


def used(before: Sequence[int], after: Sequence[int], packages: Sequence[Counter]) -> float:
    """Joules between two readings, over all packages."""
    spent = (
        end - start + (package.most if end < start else 0)
        for start, end, package in zip(before, after, packages, strict=True)
    )
    return sum(spent) / 1e6


def measure_energy(
    run: Callable[[], object], images: int, *, root: Path = POWERCAP, seconds: float = SECONDS
) -> Energy:
    """Energy of one image.

    Args:
        run: handles ``images`` images.
        images: how many.
        root: of the counters.
        seconds: it is repeated for, five times at least.
    """
    packages = counters(root)
    if isinstance(packages, str):
        return Energy(None, f"not measured: {packages}")
    begin, before, rounds = time.perf_counter(), [package.read() for package in packages], 0
    while rounds < _ROUNDS or time.perf_counter() - begin < seconds:
        run()
        rounds += 1
    joules = used(before, [package.read() for package in packages], packages)
    return Energy(joules / (rounds * images), "processor package (RAPL), what it uses when idle included")
