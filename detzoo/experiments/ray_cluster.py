"""The machines of a Ray cluster as workers: each run is one Ray task, and Ray decides where and when.

Run folders and data must lie where every machine finds them under the same path. A run whose machine dies is given to
another one, which goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DetzooError
from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.local import LOOK_EVERY, PATIENCE, LocalWorkers
from detzoo.runtime.foreign_files import is_folder
from detzoo.runtime.whole_numbers import whole_number

TRIES: Final = 3
"""Times that Ray starts a run again whose machine was lost."""
STORE_BYTES: Final = 100 * 2**20
"""Shared memory of a cluster of our own: only jobs and outcomes pass through it, and Ray takes no less than 75 MB."""
KNOCK_SECONDS: Final = 10.0
ATTEMPTS: Final = "RAY_gcs_server_port_wait_time_s"
SETTINGS: Final = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Ray would otherwise hide the GPUs of machines that have none free, from itself as well."""
OWN_SETTINGS: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Of a cluster of our own: Ray tells its makers nothing, and does not give way to all else on the machine."""


class RayWorkers:
    """Gives runs to Ray, and tells how they ended.

    Args:
        address: of the cluster (``auto``: that of this machine; ``host:6379``; ``ray://host:10001``), or ``local`` for
            one that lives in this machine as long as these workers.
        logs: folder for what the runs print, as every machine finds it.
        cpus: processor cores that each run needs.
        gpus: GPUs that each run needs; None takes one where the cluster has any.

    Raises:
        DetzooError: Ray is not installed, no cluster answers, or no machine of it is large enough.
    """

    def __init__(self, address: str, logs: Path, *, cpus: float = 1, gpus: float | None = None) -> None:
        settings = SETTINGS if address != "local" else SETTINGS | OWN_SETTINGS
        for name, value in settings.items():
            os.environ.setdefault(name, value)  # Ray reads them when it is imported: without effect where it is already
        self.ray = ray_module()
        if address == "local":
            self._begin()
        else:
            self._connect(address)
        if gpus is None:
            gpus = 1 if self.ray.cluster_resources().get("GPU", 0) >= 1 else 0
        self.gpus, self.logs = gpus, str(logs)
        self._check_room(cpus, gpus)
        remote = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES, max_calls=1)
        self._task = remote(train_here)
        self._running: dict[Any, Job] = {}

    def _begin(self) -> None:
        """A cluster of our own, which ends with us."""
        logging.getLogger("ray").setLevel(logging.ERROR)  # not a warning about each cluster's token
        try:
            self.ray.init(
                address="local",
                log_to_driver=False,
                include_dashboard=False,
                configure_logging=False,
                object_store_memory=STORE_BYTES,
            )
        except Exception as error:  # of many classes, Ray's own and the system's
            raise DetzooError(f"--ray local: Ray cannot start on this machine: {first_line(error)}") from None

    def _connect(self, address: str) -> None:
        try:
            knock(address)
            with attempts(1):
                self.ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # of many classes, Ray's own and gRPC's
            raise DetzooError(
                f"--ray {address}: no Ray cluster answers there: {first_line(error)}; start one with "
                "`ray start --head`, or write --ray local for one on this machine"
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
        self._running[self._task.options(name=job.name).remote(job.as_dict(), self.gpus > 0, self.logs)] = job
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
        ready, late = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=PATIENCE + 10)
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


def knock(address: str) -> None:
    """See whether anything listens at ``host:port``: Ray itself would try for a quarter of an hour.

    Raises:
        OSError: nothing does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    number = whole_number(port, digits=5)
    if colon and number is not None and number < 2**16:
        socket.create_connection((host.strip("[]"), number), timeout=KNOCK_SECONDS).close()


@contextlib.contextmanager
def attempts(number: int) -> Iterator[None]:
    """Attempts of Ray, half a minute each, at a cluster that is there but does not answer; the user's own word goes."""
    if ATTEMPTS in os.environ:
        yield
        return
    os.environ[ATTEMPTS] = str(number)
    try:
        yield
    finally:
        del os.environ[ATTEMPTS]  # a cluster of our own, later, would be given as many seconds to start


def first_line(error: Exception) -> str:
    """Of what Ray says, which may be pages."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def train_here(values: dict[str, Any], on_gpu: bool, logs: str) -> dict[str, Any]:
    """The task: Ray has chosen the machine, and shows it the GPUs that are meant.

    The training has a process of its own: Ray's is full of threads, and a fork of it (for loading images) is not safe.
    """
    job = Job.from_dict(values)
    if not is_folder(job.folder):
        job = dataclasses.replace(job, folder=Path.cwd())
    workers = LocalWorkers(["cuda" if on_gpu else "cpu"], Path(logs))
    workers.start(job)
    try:
        while not (outcomes := workers.ended()):
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:  # Ray cancels a task in this way
        outcomes = workers.stop()
    return dataclasses.asdict(outcomes[0])
