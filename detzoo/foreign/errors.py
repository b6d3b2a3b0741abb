"""What can go wrong with somebody else's detector."""

from __future__ import annotations

from detzoo.errors import DetzooError


class ForeignError(DetzooError):
    """A foreign detector cannot be loaded, fails, hangs, or gives what are no detections; the message says which."""
