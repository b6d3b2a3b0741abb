"""The machines of a Ray cluster as workers: each run is one Ray task, and Ray decides where and when.

Run folders and data must lie where every machine finds them under the same path. A run whose machine dies is given to
another one, which goes on from the last checkpoint.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import time
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DetzooError
from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.local import LOOK_EVERY, LocalWorkers

TRIES: Final = 3
"""Times that Ray starts a run again whose machine was lost."""


class RayWorkers:
    """Gives runs to Ray, and tells how they ended.

    Args:
        address: of the cluster (``auto``: that of this machine; ``host:6379``; ``ray://host:10001``), or ``local`` for
            one that lives in this machine as long as the sweep.
        cpus: processor cores that each run needs.
        gpus: GPUs that each run needs; None takes one where the cluster has any.

    Raises:
        DetzooError: Ray is not installed, no cluster answers, or no machine of it is large enough.
    """

    def __init__(self, address: str, *, cpus: float = 1, gpus: float | None = None) -> None:
        # Ray would otherwise hide the GPUs of machines that have none free, from itself as well
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if address == "local":
            # The runs are what this machine is for; Ray would give way to everything else on it
            os.environ.setdefault("RAY_worker_niceness", "0")
        self.ray = ray_module()
        self._connect(address)
        if gpus is None:
            gpus = 1 if self.ray.cluster_resources().get("GPU", 0) >= 1 else 0
        self.gpus = gpus
        self._check_room(cpus, gpus)
        remote = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES, max_calls=1)
        self._task = remote(train_here)
        self._running: dict[Any, Job] = {}

    def _connect(self, address: str) -> None:
        try:
            self.ray.init(
                address=None if address == "local" else address,
                log_to_driver=False,
                include_dashboard=False if address == "local" else None,
                configure_logging=False,
            )
        except Exception as error:  # of many classes, Ray's own and gRPC's
            text = str(error).strip().partition("\n")[0]
            raise DetzooError(
                f"--ray {address}: no Ray cluster answers there: {text}; start one with `ray start --head`, or write "
                "--ray local for one on this machine"
            ) from None

    def _check_room(self, cpus: float, gpus: float) -> None:
        """Ray would wait for ever for a machine that does not exist."""
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(m.get("CPU", 0) >= cpus and m.get("GPU", 0) >= gpus for m in machines):
            return
        there = "; ".join(f"{m.get('CPU', 0):g} cores, {m.get('GPU', 0):g} GPUs" for m in machines)
        self.close()
        raise DetzooError(
            f"no machine of the Ray cluster has the {cpus:g} cores and {gpus:g} GPUs that each run asks for; it has: "
            f"{there}; choose --ray-cpus and --ray-gpus"
        )

    @property
    def free(self) -> bool:
        """Ray queues what does not fit yet."""
        return True

    @property
    def busy(self) -> bool:
        """Whether runs are with Ray."""
        return bool(self._running)

    def start(self, job: Job) -> str:
        """Give a run to Ray.

        Returns:
            what is known of its place.
        """
        self._running[self._task.options(name=job.name).remote(job.as_dict(), self.gpus > 0)] = job
        return "Ray"

    def ended(self) -> list[Outcome]:
        """Runs that have ended since the last call."""
        if not self._running:
            return []
        ready, _ = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [self._outcome(reference) for reference in ready]

    def _outcome(self, reference: Any) -> Outcome:
        job = self._running.pop(reference)
        try:
            return Outcome(**self.ray.get(reference))
        except self.ray.exceptions.TaskCancelledError:
            return Outcome(name=job.name, state="stopped")
        except Exception as error:  # lost machines, out of memory, a broken environment: of many classes
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            return Outcome(
                name=job.name, state="failed", why=f"Ray: {type(error).__name__}: {lines[-1] if lines else ''}"
            )

    def stop(self) -> list[Outcome]:
        """Ask every run to write a checkpoint and end; Ray forgets those that wait."""
        for reference in self._running:
            self.ray.cancel(reference, force=False)
        ready, late = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=60)
        for reference in late:
            self.ray.cancel(reference, force=True)
        return [self._outcome(reference) for reference in [*ready, *late]]

    def close(self) -> None:
        """Leave the cluster; end it where it is our own."""
        self.ray.shutdown()


def ray_module() -> Any:
    """Ray, or how to get it.

    Raises:
        DetzooError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise DetzooError("--ray needs Ray: pip install 'detzoo[ray]'") from None


def train_here(values: dict[str, Any], on_gpu: bool) -> dict[str, Any]:
    """The task: Ray has chosen the machine, and shows it the GPUs that are meant.

    The training has a process of its own: Ray's is full of threads, and a fork of it (for loading images) is not safe.
    """
    job = Job.from_dict(values)
    if not job.folder.is_dir():
        job = dataclasses.replace(job, folder=Path.cwd())
    workers = LocalWorkers(["cuda" if on_gpu else "cpu"], job.run.parents[1] / "logs")
    workers.start(job)
    try:
        while not (outcomes := workers.ended()):
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:  # Ray cancels a task in this way
        outcomes = workers.stop()
    return dataclasses.asdict(outcomes[0])
