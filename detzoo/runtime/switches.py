"""--compile, --channels-last, --precision, --fold: ways to run the same detector faster, never another detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from detzoo.errors import DetzooError

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Switches:
    """How a detector is run.

    Args:
        compile: the network through ``torch.compile``; the first call of each input size takes long.
        channels_last: weights and activations as NHWC in memory.
        fold: batch norms folded into the convolutions before them; on a CPU activations too, eagerly.
        precision: of the network; scores, decoding and suppression stay in float32.
    """

    compile: bool = False
    channels_last: bool = False
    fold: bool = False
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise DetzooError(f"precision {self.precision!r} is unknown; allowed: fp32, bf16, fp16")

    def as_dict(self) -> dict[str, Any]:
        """For a protocol."""
        return dataclasses.asdict(self)
