"""The process that trains one run of a sweep: ``python -m detzoo.experiments.worker``, started by ``local.py``.

The job comes as one line of JSON on stdin, the outcome goes as one line to stdout; all that is printed goes to stderr,
which is the run's log. Stdin stays open as long as the sweep lives: when it ends, however it ended, the training writes
a checkpoint and ends too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading

from detzoo.experiments.job import Job, attempt


def main() -> None:
    """Train, and tell."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_sweep, daemon=True).start()
    outcome = attempt(Job.from_dict(order["job"]), order["device"])
    told.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
    told.close()


def end_with_the_sweep() -> None:
    """Wait for the end of stdin, then ask the training to stop as Ctrl-C would."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
