"""A backbone with a classifier on top, for pretraining; and its layers under the names of published files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from detzoo.interfaces import Backbone, Normalisation
from detzoo.runtime.atomic_files import write_bytes
from detzoo.weights.normalisation import NORMALISATION_KEY

_WIDTH = 4096  # outputs of fc6 and fc7: Krizhevsky et al. 2012, and VGG and ZF after them


class Classifier(nn.Module):
    """Images [B,3,H,W] -> logits [B,K] from the backbone's deepest map.

    A backbone whose published network has fully connected layers (fc6 and fc7 of CaffeNet, ZF, AlexNet, VGG) gets them,
    with ReLU and dropout; every other one the mean of its map. A linear layer follows.

    Args:
        backbone: whose deepest level is classified.
        num_classes: K.
        dropout: before each fully connected layer.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.level = list(backbone.out)[-1]
        channels = backbone.out[self.level].channels
        self.names: tuple[str, ...] = backbone.fully_connected
        side = backbone.pooled if self.names else 1
        # any input size fits fc6
        self.pool: nn.Module = nn.AdaptiveMaxPool2d(side) if self.names else nn.AdaptiveAvgPool2d(1)
        inputs = [channels * side**2, *[_WIDTH] * len(self.names)]
        self.hidden = nn.ModuleList(nn.Linear(wide, _WIDTH) for wide in inputs[:-1])
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(inputs[-1], num_classes)
        for layer in (*self.hidden, self.last):
            assert isinstance(layer, nn.Linear)
            # Caffe's CaffeNet: 0.005 for fc6 and fc7
            nn.init.normal_(layer.weight, std=0.005 if layer is not self.last else 0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B,K]."""
        x = self.pool(self.backbone(pixels)[self.level]).flatten(1)
        for layer in self.hidden:
            x = layer(self.dropout(x)).relu()
        return self.last(self.dropout(x) if self.names else x)  # type: ignore[no-any-return]  # modules return Any

    def published(self) -> dict[str, Tensor]:
        """The backbone under its own names, and the fully connected layers under those of published files."""
        state = {name: value.detach().cpu().contiguous() for name, value in self.backbone.state_dict().items()}
        for name, layer in zip(self.names, self.hidden, strict=True):
            state |= {f"{name}.{key}": value.detach().cpu().contiguous() for key, value in layer.state_dict().items()}
        return state


def save_backbone(path: Path, classifier: Classifier, about: dict[str, Any], normalisation: Normalisation) -> None:
    """Write what ``backbone.weights`` of a recipe takes, whole or not at all.

    Args:
        path: the file.
        classifier: trained.
        about: what made it, as plain values.
        normalisation: of the pixels that it was trained on.
    """
    metadata = {
        "format": "detzoo.backbone/1",
        NORMALISATION_KEY: json.dumps(dataclasses.asdict(normalisation)),
        "about": json.dumps(about),
    }
    write_bytes(path, save(classifier.published(), metadata=metadata))
