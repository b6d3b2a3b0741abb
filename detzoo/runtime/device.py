"""Where a detector runs: the devices of this machine, by name."""

from __future__ import annotations

import torch
from torch import nn

from detzoo.errors import DetzooError


def pick_device(name: str | None) -> torch.device:
    """The named device, or the best there is.

    Raises:
        DetzooError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)  # torch.device accepts names of devices that are not there
    except (RuntimeError, AssertionError) as error:
        unknown = "at start of device string" in str(error)
        reason = "there is no such kind of device" if unknown else str(error).splitlines()[0]
        raise DetzooError(f"device {name!r} cannot be used: {reason}; allowed here: {', '.join(devices())}") from None
    return device


def devices() -> list[str]:
    """Names of the devices of this machine."""
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU for one without any."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
