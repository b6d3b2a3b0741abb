"""Benchmark: how long a detector takes, and what it costs in parameters, arithmetic and memory."""

from detzoo.benchmark.cost import Cost
from detzoo.benchmark.speed import Benchmark, benchmark
from detzoo.benchmark.switches import Switches, apply_switches, pick_device

__all__ = ["Benchmark", "Cost", "Switches", "apply_switches", "benchmark", "pick_device"]
