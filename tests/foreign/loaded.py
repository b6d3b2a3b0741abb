"""Foreign programs in the tests' own process, which is faster and shows as much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from detzoo.foreign.loading import load_program
from detzoo.foreign.options import described
from detzoo.foreign.protocol import ForeignProgram


def loaded(target: str | Path, options: list[str] | None = None) -> ForeignProgram:
    """The program of a target, with as many threads as there are."""
    found = described(str(target), options)
    program, _ = load_program(dataclasses.asdict(found.target), found.values, "cpu", torch.get_num_threads())
    return program
