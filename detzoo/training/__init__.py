"""Training: the plan, the loop, checkpoints that survive a kill, and what a run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detzoo.training.summary import RunSummary
    from detzoo.training.trainer import train

_LAZY = {"train": "detzoo.training.trainer", "RunSummary": "detzoo.training.summary"}

__all__ = ["RunSummary", "train"]


def __getattr__(name: str) -> Any:
    # Plans and checkpoints are read without accelerate, which is slow to import
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
