"""Benchmark: latency, throughput and cost of a detector."""

from detzoo.benchmark.cost import Cost
from detzoo.benchmark.speed import Benchmark, TimingOptions, benchmark

__all__ = ["Benchmark", "Cost", "TimingOptions", "benchmark"]
