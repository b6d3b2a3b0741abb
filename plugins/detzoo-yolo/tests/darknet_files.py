"""Texts of cfgs, and the numbers of .weights files, for the tests of darknet's files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from detzoo import build
from detzoo.interfaces import Detector
from detzoo_yolo.reader import recipe_of

NET = "[net]\nwidth=64\nheight=64\nchannels=3\nlearning_rate=.001\nburn_in=100\nmax_batches=500\npolicy=steps\n"
NET += "steps=400\nscales=.1\n"


def convolution(filters: int, size: int, *, norm: bool = True, activation: str = "leaky", **options: int) -> str:
    more = "".join(f"{key}={value}\n" for key, value in ({"stride": 1, "pad": 1} | options).items())
    start = "batch_normalize=1\n" if norm else ""
    return f"[convolutional]\n{start}filters={filters}\nsize={size}\n{more}activation={activation}\n"


def yolo(mask: str) -> str:
    return (
        f"[yolo]\nmask={mask}\nanchors=10,14, 23,27, 37,58, 81,82\nclasses=2\nnum=4\njitter=.3\nignore_thresh=.7\n"
        "truth_thresh=1\nrandom=1\n"
    )


V3 = "\n".join(
    [
        NET,
        convolution(8, 3, stride=2),  # 0
        convolution(8, 3, groups=4),  # 1
        convolution(8, 1, activation="linear"),  # 2
        "[shortcut]\nfrom=-3\nactivation=linear\n",  # 3
        "[maxpool]\nsize=2\nstride=2\n",  # 4
        "[maxpool]\nsize=2\nstride=1\n",  # 5
        "[dropout]\nprobability=.2\n",  # 6
        convolution(14, 1, norm=False, activation="linear"),  # 7, the predictor
        yolo("2,3"),  # 8
        "[route]\nlayers=-3\n",  # 9
        "[upsample]\nstride=2\n",  # 10
        "[route]\nlayers=-1,3\n",  # 11
        convolution(14, 1, norm=False, activation="linear"),  # 12
        yolo("0,1"),  # 13
    ]
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def made(folder: Path, text: str) -> Detector:
    recipe = recipe_of(written(folder / "net.cfg", text), names=["cat", "dog"])
    target = written(folder / "net.yaml", yaml.safe_dump({"api": 1, "detectors": {"mine": recipe}}))
    return build(str(target), weights=None).eval()


class Numbers:
    """Random numbers in the order of a .weights file, remembered by the layer that reads them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.all: list[np.ndarray[Any, Any]] = []

    def take(self, *shape: int, positive: bool = False) -> Tensor:
        values = self.rng.normal(0, 0.5, shape).astype(np.float32)
        if positive:
            values = np.abs(values) + np.float32(0.5)
        self.all.append(values)
        return torch.from_numpy(values)

    def convolution(self, inputs: int, filters: int, size: int, *, norm: bool = True, groups: int = 1) -> Any:
        bias = self.take(filters)
        scale, mean, variance = (
            (self.take(filters), self.take(filters), self.take(filters, positive=True)) if norm else (None, None, None)
        )
        return bias, scale, mean, variance, self.take(filters, inputs // groups, size, size), groups

    def save(self, path: Path, header: bytes, *, less: int = 0, more: int = 0) -> Path:
        data = np.concatenate([values.ravel() for values in self.all])
        data = np.concatenate([data[: len(data) - less], np.zeros(more, np.float32)])
        path.write_bytes(header + data.astype("<f4").tobytes())
        return path


def run(x: Tensor, layer: Any, *, stride: int = 1, leaky: bool = True) -> Tensor:
    """A convolution as darknet computes it, from the numbers alone."""
    bias, scale, mean, variance, weight, groups = layer
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    if scale is not None:
        per_channel = [tensor.view(1, -1, 1, 1) for tensor in (mean, variance, scale)]
        x = (x - per_channel[0]) / (per_channel[1].sqrt() + 1e-6) * per_channel[2]
    x = x + bias.view(1, -1, 1, 1)
    return torch.where(x > 0, x, 0.1 * x) if leaky else x


HEADERS = {
    "0.1, 32-bit count": struct.pack("<iiii", 0, 1, 0, 6400),
    "0.2, 64-bit count": struct.pack("<iiiq", 0, 2, 0, 1 << 40),
    "0.2.5": struct.pack("<iiiq", 0, 2, 5, 32013312),
    "1.0": struct.pack("<iiiq", 1, 0, 0, 5),
}

SIZE = 8 * 4 + 216 + 8 * 4 + 144 + 8 * 4 + 64 + 14 + 112 + 14 + 224
"""Numbers of V3."""
