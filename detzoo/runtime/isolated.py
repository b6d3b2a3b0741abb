"""One of many pieces of work fails; the others go on, and what failed is told."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from detzoo.errors import DetzooError, DiskError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a piece of work has no result.

    Args:
        message: one line.
        trace: Python's traceback, where the error is not one of detzoo's own messages.
    """

    message: str
    trace: str = ""


def isolated(work: Callable[[], Result]) -> Result | Failure:
    """The result of ``work``, or why there is none. Ctrl-C and other exits pass through, and a disk that is full."""
    try:
        return work()
    except DiskError:
        raise
    except DetzooError as error:
        return Failure(str(error))
    except Exception as error:  # a detector of anybody's: whatever it raises must not cost the others their numbers
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return Failure(f"{type(error).__name__}: {first}".rstrip(": "), traceback.format_exc())
