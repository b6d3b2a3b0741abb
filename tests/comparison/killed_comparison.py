"""A comparison that kills its own process, without a chance to tidy up, at the line that ``sys.argv`` names."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare


def main(out: str, data: str, last_words: str, *targets: str) -> None:
    """Compare until a line that begins with ``last_words`` is said."""

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith(last_words):
            os.kill(os.getpid(), signal.SIGKILL)

    plan = ComparisonPlan(
        targets=targets, data=data, out=Path(out), device="cpu", iterations=1, workers=0, largest_batch=1
    )
    compare(plan, say)


main(*sys.argv[1:])
