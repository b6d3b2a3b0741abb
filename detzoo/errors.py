"""The errors a user can cause. Each is one clear message: what, where, what is allowed, what next.

The command line prints the message and leaves with exit code 2, or 1 where the machine failed; no traceback is shown.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

_LONG_WORD: Final = re.compile(r"(\S{120})\S{161,}(\S{40})")
"""Longer than any path that a user would want to read whole."""


def shortened(text: str) -> str:
    """A message in which names of hundreds of letters have lost their middle."""
    return _LONG_WORD.sub(lambda found: f"{found[1]}...({len(found[0])} letters)...{found[2]}", text)


class DetzooError(Exception):
    """A mistake that the user can mend; the message says how."""

    exit_code: ClassVar[int] = 2
    """Of a command that ends with this error."""

    def __str__(self) -> str:
        return shortened(super().__str__())


class RecipeError(DetzooError):
    """A recipe, a name in it, or an override is wrong."""


class PluginError(DetzooError):
    """A plugin is missing, broken, incompatible or ambiguous."""


class DataError(DetzooError):
    """A dataset, an annotation file or an image is wrong."""


class UnknownSplitError(DataError):
    """A split that the dataset does not have is asked for: nothing is wrong with the data."""


class WeightsError(DetzooError):
    """Weights are missing, damaged or do not fit."""


class SettingError(DetzooError):
    """A setting of post-processing (``DetectionSettings``) is out of range, or the detector does not have it."""


class TrainingError(DetzooError):
    """A run cannot start, go on or be resumed."""


class MachineError(DetzooError):
    """The machine failed, not the user: a full disk, no memory, a process that was killed."""

    exit_code = 1


class DiskError(MachineError):
    """A file cannot be written: the disk is full, or failed. What else writes there will fail as well."""
