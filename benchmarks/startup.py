"""What starting costs: ``detzoo list`` as a whole process against its bare imports, and ``import detzoo`` alone.

Run from the repository with its own Python: ``python benchmarks/startup.py``. The processes alternate, so that a busy
machine slows all of them alike; medians are compared. All of them find compiled modules in one warm cache, as after an
installation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

COMMANDS: Final = {
    "interpreter": ["-c", "pass"],
    "bare imports": ["-c", "import typer, pydantic, yaml, pluggy"],
    "import detzoo": ["-c", "import detzoo"],
    "detzoo list": ["-m", "detzoo", "list"],
}
LIST_LIMIT: Final = 2.0
"""``detzoo list`` may cost this many times its bare imports."""
IMPORT_LIMIT: Final = 0.1
"""Seconds that ``import detzoo`` may add to the interpreter's own start."""


def seconds(arguments: list[str], cache: str) -> float:
    """Wall-clock time of one process, whose compiled modules lie in the folder ``cache``."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def main() -> int:
    """Measure, print, and leave with 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="runs of each process")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(options.runs + 1):  # the first round fills the caches and is left out
            for name, arguments in COMMANDS.items():
                times[name].append(seconds(arguments, cache))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    ratio = medians["detzoo list"] / medians["bare imports"]
    own = medians["import detzoo"] - medians["interpreter"]
    for name, median in medians.items():
        print(f"{name:<14} {1000 * median:7.1f} ms  (best {1000 * min(times[name][1:]):.1f})")
    print(f"detzoo list / bare imports: {ratio:.2f} (at most {LIST_LIMIT})")
    print(f"import detzoo: {own:.3f} s (at most {IMPORT_LIMIT})")
    if options.out:
        figures = {
            "median_seconds": medians, "runs": options.runs, "list_over_bare_imports": ratio,
            "import_detzoo_seconds": own, "python": platform.python_version(), "machine": platform.machine(),
        }  # fmt: skip
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(ratio > LIST_LIMIT or own > IMPORT_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
