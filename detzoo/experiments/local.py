"""The devices of this machine as workers: one process for each, one run at a time in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DetzooError
from detzoo.experiments.job import Job, Outcome
from detzoo.runtime.device import devices, pick_device
from detzoo.runtime.parallel import cores

LOOK_EVERY: Final = 0.2
"""Seconds between looks at the runs."""
PATIENCE: Final = 120.0
"""Seconds a training has to write its checkpoint after Ctrl-C."""


@dataclass
class Slot:
    """A device, and what runs on it."""

    device: str
    job: Job | None = None
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None


class LocalWorkers:
    """Starts processes, and tells how they ended.

    Args:
        devices: one run at a time on each; a name may stand there more than once.
        logs: folder for what the runs print.
    """

    def __init__(self, devices: Sequence[str], logs: Path) -> None:
        self.slots = [Slot(device) for device in devices]
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def free(self) -> bool:
        """Whether another run can begin."""
        return any(slot.process is None for slot in self.slots)

    @property
    def busy(self) -> bool:
        """Whether a run is at work."""
        return any(slot.process is not None for slot in self.slots)

    def start(self, job: Job) -> str:
        """Begin a run on a free device.

        Returns:
            the device.
        """
        slot = next(slot for slot in self.slots if slot.process is None)
        slot.job, slot.log = job, self.logs / f"{job.name}.txt"
        with slot.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the sweep alone, which then asks each run to stop
            slot.process = subprocess.Popen(
                [sys.executable, "-m", "detzoo.experiments.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=self._environment(slot.device),
            )
        order = {"job": job.as_dict(), "device": slot.device}
        assert slot.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; `ended` tells why
            slot.process.stdin.write(json.dumps(order).encode() + b"\n")
            slot.process.stdin.flush()
        return slot.device

    def _environment(self, device: str) -> dict[str, str]:
        """Simultaneous runs on the processor share its cores."""
        shared = sum(slot.device == "cpu" for slot in self.slots)
        if device != "cpu" or shared < 2 or "OMP_NUM_THREADS" in os.environ:
            return dict(os.environ)
        return os.environ | {"OMP_NUM_THREADS": str(max(1, cores() // shared))}

    def ended(self) -> list[Outcome]:
        """Runs that have ended since the last call."""
        return [
            self._outcome(slot) for slot in self.slots if slot.process is not None and slot.process.poll() is not None
        ]

    def _outcome(self, slot: Slot) -> Outcome:
        process, job, log = slot.process, slot.job, slot.log
        assert process is not None
        assert job is not None
        slot.process = slot.job = None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        text = process.stdout.read()
        process.stdout.close()
        try:
            values: dict[str, Any] = json.loads(text)
        except ValueError:
            why = f"{manner(process.returncode)}; {log} has what it printed"
            state: Any = "stopped" if process.returncode == -signal.SIGTERM else "failed"
            return Outcome(name=job.name, state=state, why=why if state == "failed" else "", device=slot.device)
        return Outcome(**values)

    def stop(self) -> list[Outcome]:
        """Ask every run to write a checkpoint and end; those that do not are killed."""
        running = [slot for slot in self.slots if slot.process is not None]
        for slot in running:
            assert slot.process is not None
            slot.process.terminate()
        until = time.monotonic() + PATIENCE
        try:
            for slot in running:
                assert slot.process is not None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    slot.process.wait(timeout=max(0.1, until - time.monotonic()))
        finally:  # a second Ctrl-C comes here at once
            for slot in running:
                if slot.process is not None and slot.process.poll() is None:
                    slot.process.kill()
                    slot.process.wait()
        return [self._outcome(slot) for slot in running]


def manner(code: int) -> str:
    """How a process died without a word."""
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    hint = " (the system does this when memory runs out)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def local_devices(asked: str | None) -> list[str]:
    """``cuda:0,cuda:1`` -> each of them; every CUDA device where nothing is asked for, else the best there is.

    Raises:
        DetzooError: there is no such device here.
    """
    if asked is None:
        found = [name for name in devices() if name.startswith("cuda")]
        return found or [str(pick_device(None))]
    names = [name.strip() for name in asked.split(",")]
    if "" in names:
        raise DetzooError(f"--devices {asked}: expected names, for example --devices cuda:0,cuda:1")
    return [str(pick_device(name)) for name in names]
