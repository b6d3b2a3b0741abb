"""What can come of a combination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["works", "refused", "broken"]


@dataclass(frozen=True)
class TrialOutcome:
    """What came of a combination.

    Args:
        status: ``works``; ``refused`` while it was built, as it must be where the parts do not go together; ``broken``:
            it was built and then failed, or failed without a message that is meant for users.
        reason: why not; empty where it works.
        recipe: that it started from; empty where there is none to start from.
        carry: whether the recipe's values were kept for parameters that both components have.
        seconds: that it took.
    """

    status: Status
    reason: str = ""
    recipe: str = ""
    carry: bool = True
    seconds: float = 0.0
