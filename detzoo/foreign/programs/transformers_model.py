"""``hf:org/name`` or a folder: object detection of transformers, through the image processor that belongs to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch

from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import ForeignOptions
from detzoo.foreign.protocol import Found, Image

_NO_CLASS = "N/A"


class TransformersModel:
    """A model of ``AutoModelForObjectDetection``; its weights must be safetensors, and no code of a repository is run.

    Args:
        place: ``org/name`` on the Hugging Face Hub, or a folder.
        options: ``classes``, where the model's own are none.
        device: where it runs.
        threads: of the processor.

    Raises:
        ForeignError: transformers is not installed, or cannot load it.
    """

    def __init__(self, place: str, options: ForeignOptions, device: str, threads: int) -> None:
        try:
            transformers: Any = importlib.import_module("transformers")  # nobody's dependency: tests have it
        except ImportError:
            raise ForeignError("hf: needs transformers: pip install transformers") from None
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.version = transformers.__version__
        try:
            self.processor = transformers.AutoImageProcessor.from_pretrained(place)
            self.model = transformers.AutoModelForObjectDetection.from_pretrained(place, use_safetensors=True)
        except (OSError, ValueError, ImportError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ForeignError(f"transformers cannot load {place}: {lines[0] if lines else error}") from None
        self.device = torch.device(device)
        self.model.to(self.device).eval()
        own = self.model.config.id2label
        self.names = options.names or [None if own[at] == _NO_CLASS else own[at] for at in range(len(own))]

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """What the processor's own post-processing gives, without a threshold."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        given = self.processor(images=images, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            outputs = self.model(**given)
        found = self.processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
        return [_of_image(one, size) for one, size in zip(found, sizes, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Versions, kind of model and size."""
        return {
            "kind": "transformers",
            "transformers": self.version,
            "model": self.model.config.model_type,
            "processor": type(self.processor).__name__,
            "device": str(self.device),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_bytes": sum(t.numel() * t.element_size() for t in self.model.state_dict().values()),
        }


def _of_image(found: dict[str, torch.Tensor], size: tuple[int, int]) -> Found:
    """Boxes cut to the image; one that lies beside it is no detection."""
    height, width = size
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = found["boxes"].float().cpu().clamp(min=0).minimum(limit)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[inside], found["scores"].cpu()[inside], found["labels"].cpu()[inside]
