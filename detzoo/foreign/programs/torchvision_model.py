"""``torchvision:NAME``: a detector of torchvision with its own weights or a file's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.protocol import Found, Image
from detzoo.recipes.class_names import SETS
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.schema.describing import unknown
from detzoo.weights.sources import read_state_dict

_NO_CLASS = ("__background__", "N/A")
_PACKAGE = ".detection."


class TorchvisionModel:
    """One of torchvision's detectors; images go in as torchvision wants them, RGB in 0..1.

    Args:
        name: of the model.
        options: ``weights`` (``DEFAULT``, another name, or a file with a state dict) and ``classes``.
        device: where it runs.
        threads: of the processor.

    Raises:
        ForeignError: there is no such model, or the names are not those of its outputs.
    """

    def __init__(self, name: str, options: ForeignOptions, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        known = [one for one in torchvision.models.list_models() if _PACKAGE in _module(one)]
        if name not in known:
            raise ForeignError(unknown("detector of torchvision", name, known))
        weights = options.weights or "DEFAULT"
        self.weights = weights if not is_ordinary(weights) else Path(weights).name
        if is_ordinary(weights):
            self.model, self.names = _from_file(name, Path(weights), options.names)
        else:
            self.model, self.names = _published(name, weights, options.names)
        self.device = torch.device(device)
        self.model.to(self.device).eval()

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """What it finds, with torchvision's own thresholds."""
        given = [torch.from_numpy(image).to(self.device).permute(2, 0, 1).float() / 255 for image in images]
        with torch.inference_mode():
            found = self.model(given)
        return [(one["boxes"].cpu(), one["scores"].cpu(), one["labels"].cpu()) for one in found]

    def describe(self) -> dict[str, Any]:
        """Versions, weights and size."""
        return {
            "kind": "torchvision",
            "torchvision": torchvision.__version__,
            "weights": self.weights,
            "device": str(self.device),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_bytes": sum(t.numel() * t.element_size() for t in self.model.state_dict().values()),
        }


def _module(name: str) -> str:
    return str(torchvision.models.get_model_builder(name).__module__)


def _published(name: str, weights: str, classes: Any) -> tuple[Any, list[str | None]]:
    enum = torchvision.models.get_model_weights(name)
    known = ["DEFAULT", *(one.name for one in enum)]
    if weights not in known:
        raise ForeignError(f"{unknown('set of weights', weights, known, of=name)}, or a file")
    chosen = enum[weights]
    own = [None if one in _NO_CLASS else one for one in chosen.meta["categories"]]
    names = own if classes is None else _with_background(classes, len(own))
    return torchvision.models.get_model(name, weights=chosen), names


def _from_file(name: str, path: Path, classes: Any) -> tuple[Any, list[str | None]]:
    state = read_state_dict(path)
    if classes is None:
        names, count = list(SETS["coco91"]), len(SETS["coco91"])
    else:
        names, count = [None, *classes], len(classes) + 1
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=count)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if len(str(error).splitlines()) > 1 else str(error)
        raise ForeignError(
            f"{path} does not fit {name} with {count} outputs (background and {count - 1} classes): {first}"
        ) from None
    return model, names


def _with_background(classes: list[str | None], outputs: int) -> list[str | None]:
    """Names given by a user who does not count the background."""
    if len(classes) == outputs:
        return classes
    if len(classes) == outputs - 1:
        return [None, *classes]
    raise ForeignError(f"classes names {len(classes)}, and the weights have {outputs - 1} and the background")
