"""Benchmark: how long a detector takes, and what it costs in parameters, arithmetic and memory."""
