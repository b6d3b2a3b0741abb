"""How many threads torch computes with, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from detzoo.errors import DetzooError
from detzoo.runtime.parallel import cores
from detzoo.runtime.whole_numbers import whole_number


def parse_threads(text: str, option: str = "--threads") -> tuple[int, ...]:
    """Numbers of threads as a user writes them, ``1,2,4``; each once.

    Raises:
        DetzooError: something else, or more threads than this process may use processor cores.
    """
    found = [whole_number(part, digits=4) for part in text.split(",")]
    most = cores()
    for number, part in zip(found, text.split(","), strict=True):
        if not number:
            raise DetzooError(f"{option} {text:.60}: {part.strip()!r} is no number of threads; write 1,2,4")
        if number > most:
            raise DetzooError(
                f"{option} {text:.60}: this process may use {most} processor cores, and no more threads than that"
            )
    return tuple(dict.fromkeys(number for number in found if number))


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Within one operation; None leaves their number as it is."""
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
