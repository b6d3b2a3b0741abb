"""Where several trainings run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Places:
    """What a user says of where runs are trained.

    Args:
        devices: cuda:0,cuda:1: one run at a time on each; all GPUs by default, else the best device.
        ray: Address of a Ray cluster: auto, host:port, or local. Then ``devices`` has no effect.
        ray_cpus: Processor cores of each run on the cluster.
        ray_gpus: GPUs of each run on the cluster; 1 by default, where there are any.
    """

    devices: str | None = None
    ray: str | None = None
    ray_cpus: float = field(default=1, metadata={"min": 0})
    ray_gpus: float | None = field(default=None, metadata={"min": 0})
