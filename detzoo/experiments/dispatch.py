"""Jobs given to workers: the devices of this machine, or the machines of a Ray cluster, until all are done."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from detzoo.experiments.board import Board
from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.local import LOOK_EVERY, LocalWorkers, local_devices
from detzoo.experiments.places import Places
from detzoo.runtime.interrupts import Interrupts
from detzoo.runtime.parallel import cores


class Workers(Protocol):
    """What begins and ends runs at such a place."""

    @property
    def free(self) -> bool:
        """Whether another run can begin."""

    @property
    def busy(self) -> bool:
        """Whether a run is at work."""

    def start(self, job: Job) -> str:
        """Begin a run; its place is returned."""

    def ended(self) -> list[Outcome]:
        """Runs that have ended since the last call."""

    def stop(self) -> list[Outcome]:
        """End all runs, with a checkpoint each."""


def trained(jobs: Sequence[Job], places: Places, logs: Path, board: Board, note: Callable[[Outcome], None]) -> bool:
    """Work the jobs off where ``places`` says.

    Args:
        jobs: with whole paths.
        places: where.
        logs: folder for what the runs print.
        board: gets the starts, epochs and ends of runs.
        note: is given every change of a job's state.

    Returns:
        whether a signal ended it.

    Raises:
        DetzooError: there is no such device or cluster.
    """
    if places.ray is not None:
        from detzoo.experiments.ray_cluster import RayWorkers

        cluster = RayWorkers(places.ray, logs.absolute(), cpus=places.ray_cpus, gpus=places.ray_gpus)
        try:
            return work(jobs, cluster, board, note)
        finally:
            cluster.close()
    devices = local_devices(places.devices)[: len(jobs)]
    if len(devices) > 1:  # they share the cores that load images
        each = max(1, min(8, (cores() - 2) // len(devices)))
        jobs = [with_workers(job, each) for job in jobs]
    return work(jobs, LocalWorkers(devices, logs), board, note)


def with_workers(job: Job, count: int) -> Job:
    """The job with so many loading processes, where it does not say how many."""
    if job.command.workers is not None:
        return job
    return dataclasses.replace(job, command=dataclasses.replace(job.command, workers=count))


def work(jobs: Sequence[Job], workers: Workers, board: Board, note: Callable[[Outcome], None]) -> bool:
    """Start what can be started, note what has ended, until all is done or a signal comes.

    Returns:
        whether a signal ended it.
    """
    waiting = deque(jobs)
    with Interrupts() as interrupts:
        while (waiting or workers.busy) and not interrupts.wanted:
            while waiting and workers.free:
                job = waiting.popleft()
                place = workers.start(job)
                board.started(job, place)
                note(Outcome(name=job.name, state="running", device=place))
            for outcome in workers.ended():
                board.ended(outcome)
                note(outcome)
            board.look()
            time.sleep(LOOK_EVERY)
        if not interrupts.wanted:
            return False
        board.say("stopping: each run writes a checkpoint (Ctrl-C again ends them at once)")
        for outcome in workers.stop():
            board.ended(outcome)
            note(outcome)
    return True
