"""What a number was measured with: versions, device, threads. No paths, no host names."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

PACKAGES: Final = (
    "detzoo",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pycocotools",
    "faster-coco-eval",
)


def versions() -> dict[str, str]:
    """Installed versions of what influences a number, and of every installed plugin."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        if (version := installed(name)) is not None:
            found[name] = version
    plugins = {e.dist.name: e.dist.version for e in metadata.entry_points(group="detzoo.plugins") if e.dist}
    return found | dict(sorted(plugins.items()))


def installed(name: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def short_name(target: str) -> str:
    """The last telling part of a path: ``runs/bccd`` -> ``bccd``, ``ssd/run/best.safetensors`` -> ``ssd``."""
    parts = [part for part in Path(target).parts if part not in ("/", ".", "..")]
    while len(parts) > 1 and parts[-1] in ("run", "best.safetensors", "last.safetensors"):
        parts.pop()
    return parts[-1] if parts else target


def device_facts(device: torch.device | str) -> dict[str, Any]:
    """Kind and model of a device, and what it runs with."""
    device = torch.device(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "type": "cuda",
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return {"type": device.type, "name": cpu_name(), "threads": torch.get_num_threads()}


def cpu_name() -> str:
    """The processor's model, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
