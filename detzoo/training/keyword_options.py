"""The fields of ``TrainOptions`` as keyword arguments, for type checkers."""

from __future__ import annotations

from typing import TypedDict

from detzoo.runtime.switches import Precision


class TrainKeywords(TypedDict, total=False):
    """The fields of ``TrainOptions``, described there. A test compares the two; Python derives neither."""

    resume: bool
    epochs: int | None
    steps: int | None
    minutes: float | None
    batch: int | None
    accumulate: int | None
    seed: int | None
    precision: Precision
    device: str | None
    workers: int | None
    worker_timeout: int
    compile: bool
    channels_last: bool
    track: tuple[str, ...]
    checkpoint_steps: int | None
    checkpoint_seconds: float
    progress: bool
