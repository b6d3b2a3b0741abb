"""Where several training runs are executed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Places:
    """Devices on which several runs are trained.

    Args:
        devices: Devices such as cuda:0,cuda:1; one run at a time on each (default: all GPUs, else the fastest device).
        ray: Address of a Ray cluster: auto, host:port, or local. Then ``devices`` has no effect.
        ray_cpus: Processor cores per run on the cluster.
        ray_gpus: GPUs per run on the cluster (default: 1 if there is one).
    """

    devices: str | None = None
    ray: str | None = None
    ray_cpus: float = field(default=1, metadata={"min": 0})
    ray_gpus: float | None = field(default=None, metadata={"min": 0})
