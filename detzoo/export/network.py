"""The part of a detector that is exported: tensors in, tensors out, no dataclasses.

Letters: B images, N candidates, K classes, C columns of logits, D detections, P regions.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from detzoo.errors import DetzooError
from detzoo.types import Candidates, ImageBatch, Level, Predictions

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

RAW: Final = ("boxes", "class_logits", "quality_logits", "deltas", "candidates")
FOUND: Final = ("boxes", "scores", "labels", "valid", "mask_logits")
MEANING: Final = {
    "pixels": "float32 [B,3,H,W], normalised as detzoo.input says",
    "region": "float32 [B,4] xyxy network px: where each image lies inside its padding",
    "regions": "float32 [B,P,4] xyxy network px: the places to look at",
    "class_logits": "float32 [B,N,C]; detzoo.scoring says how they become scores",
    "quality_logits": "float32 [B,N]: objectness or centreness; detzoo.quality says how it enters the score",
    "deltas": "float32 [B,N,1 or K,4]: boxes as the head writes them",
    "candidates": "float32 [1 or B,N,4] xyxy network px: what the deltas are relative to",
    "scores": "float32 [B,D] in [0,1], best first; 0 where there is no detection",
    "labels": "int64 [B,D]: row of detzoo.classes",
    "valid": "bool [B,D]: False for rows that pad",
    "mask_logits": "float32 [B,D,m,m] within each box",
}
RAW_BOXES: Final = "float32 [B,N,1 or K,4] xyxy network px: the deltas decoded, not clipped to the image"
FOUND_BOXES: Final = "float32 [B,D,4] xyxy network px, clipped to the image"


class ExportError(DetzooError):
    """A detector, or a file, that cannot be exported as asked; the message says why and what can be done."""


@dataclass(frozen=True)
class Exported:
    """What is exported and how it is called.

    Args:
        module: pixels (and region, and regions) to a tuple of tensors.
        inputs: names of its arguments.
        outputs: names of its results.
        examples: one tensor per argument, for two images.
        step: whole numbers of network px by which a dynamic size may grow: the coarsest stride.
        levels: of raw outputs: the grid that the candidates come from, for the size of the examples.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: tuple[Tensor, ...]
    step: int
    levels: tuple[Level, ...] = ()

    def alone(self) -> Exported:
        """The same for one image."""
        return dataclasses.replace(self, examples=tuple(example[:1] for example in self.examples))

    def meanings(self) -> dict[str, str]:
        """A sentence for each input and output."""
        boxes = FOUND_BOXES if "scores" in self.outputs else RAW_BOXES
        return {name: MEANING.get(name, boxes) for name in (*self.inputs, *self.outputs)}


class Network(nn.Module):
    """A detector between plain tensors.

    Args:
        detector: in evaluation mode.
        inputs: ``pixels``, then perhaps ``region`` and ``regions``.
        postprocess: detections come out, else what the head says.
    """

    def __init__(self, detector: Detector, inputs: tuple[str, ...], *, postprocess: bool) -> None:
        super().__init__()
        self.detector, self.inputs, self.postprocess = detector, inputs, postprocess

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The outputs that there are, in the order of ``FOUND`` or ``RAW``."""
        return tuple(self.named(*given).values())

    def named(self, *given: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        batch = image_batch(**dict(zip(self.inputs, given, strict=True)))
        if self.postprocess:
            found = self.detector.detect(batch)
            values: dict[str, Tensor | None] = {name: getattr(found, name) for name in FOUND}
        else:
            values = raw(*self.detector.network(batch))
        return {name: value for name, value in values.items() if value is not None}


def raw(candidates: Candidates, predictions: Predictions) -> dict[str, Tensor | None]:
    """What a head says, and the boxes that it means."""
    predictions = predictions.float()
    boxes = candidates.boxes.unsqueeze(2)
    if candidates.coder is not None:
        per_class = predictions.deltas.shape[2]
        labels = torch.arange(per_class, device=boxes.device)
        coder = candidates.coder.of_classes(labels) if per_class > 1 else candidates.coder
        boxes = coder.decode(predictions.deltas, boxes, candidates.strides().unsqueeze(-1))
    return {
        "boxes": boxes,
        "class_logits": predictions.class_logits,
        "quality_logits": predictions.quality_logits,
        "deltas": predictions.deltas,
        "candidates": candidates.boxes,
    }


def image_batch(pixels: Tensor, region: Tensor | None = None, regions: Tensor | None = None) -> ImageBatch:
    """The batch that a detector takes; without ``region`` images fill the input, as with ``resize: stretch``."""
    count, _, height, width = pixels.shape
    size = torch.stack([torch.scalar_tensor(height), torch.scalar_tensor(width)]).to(pixels.device)
    if region is None:
        region = torch.cat([torch.zeros_like(size), size.flip(0)]).expand(count, 4)
    places = None
    if regions is not None:
        places = Candidates(regions, (regions[..., 2:] > regions[..., :2]).all(-1))
    return ImageBatch(
        pixels=pixels,
        region=region,
        original_size=size.long().expand(count, 2),
        scale=torch.ones_like(size).expand(count, 2),
        index=torch.arange(count, device=pixels.device),
        proposals=places,
    )


def exportable(detector: Detector, *, postprocess: bool, size: tuple[int, int] | None = None) -> Exported:
    """A copy of a detector on the CPU, ready to be exported.

    Args:
        detector: any; raw outputs are of one-stage detectors alone.
        postprocess: detections come out, else what the head says.
        size: (height, width) px of the network input; the recipe's without it.

    Raises:
        ExportError: the detector has no raw head, or needs a size.
    """
    if not postprocess and detector.raw_head is None:
        raise ExportError(
            f"{detector.recipe.name}: raw outputs of a head are of one-stage detectors; this one is "
            f"{detector.recipe.values['architecture']}, whose later stages look at what the earlier found"
        )
    height, width = input_size(detector, size)
    inputs, examples = ["pixels"], [torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))]
    if postprocess and detector.input.resize != "stretch":
        inputs.append("region")
        examples.append(torch.tensor([0.0, 0, width, height]).repeat(2, 1))
    if detector.proposer is not None:
        inputs.append("regions")
        places = [[0.0, 0, width / 2, height / 2], [width / 4, height / 4, width, height]] * 2
        examples.append(torch.tensor(places).repeat(2, 1, 1))
    copied = copy.deepcopy(detector).cpu().float().eval()
    copied.prepare_for_export()
    network = Network(copied, tuple(inputs), postprocess=postprocess)
    with torch.no_grad():
        outputs = tuple(network.named(*examples))
        levels = () if postprocess else copied.network(image_batch(*examples))[0].levels
    return Exported(network, tuple(inputs), outputs, tuple(examples), detector.stride, levels)


def input_size(detector: Detector, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) px of the network input.

    Raises:
        ExportError: the recipe's follows the images and none is given, or the given one is not the recipe's step.
    """
    spec, step = detector.input, detector.stride
    if size is None and spec.size is None:
        raise ExportError(
            f"{detector.recipe.name}: the size of the input follows the images (resize: shortest); name one: "
            f"--size {_floored(spec.min_size, step)},{_floored(spec.max_size, step)} for instance (height,width)"
        )
    chosen = size or spec.size
    assert chosen is not None
    if size is not None and size != spec.size and (chosen[0] % step or chosen[1] % step or min(chosen) < step):
        raise ExportError(
            f"--size {chosen[0]},{chosen[1]}: both sides must be multiples of {step} px, the coarsest stride"
        )
    return chosen


def _floored(side: int | None, step: int) -> int:
    """The largest multiple of ``step`` that is no longer, ``step`` at least."""
    return max(step, (side or step) // step * step)


def recorded(
    detector: Detector, exported: Exported, shapes: tuple[dict[int, Any], ...], *, otherwise: Callable[[str], str]
) -> torch.export.ExportedProgram:
    """PyTorch's program of what a detector computes.

    Args:
        detector: for the message.
        exported: what is run.
        shapes: dynamic dimensions of each input.
        otherwise: a reason to the message of what can be done.

    Raises:
        ExportError: something in the detector cannot be recorded.
    """
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(exported.module, exported.examples, dynamic_shapes=(shapes,), strict=False)
    except Exception as error:  # whatever the tracer stumbles upon, a user wants one sentence of it
        raise ExportError(f"{detector.recipe.name} cannot be exported: {otherwise(sentence(error))}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the pages that PyTorch logs and prints of a graph that it could not make, or its own deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    unread = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def unrecorded(reason: str) -> str:
    """A reason of the tracer, with what can be done."""
    return f"what it computes depends on what it has found ({reason.rstrip('.')}); run it with detzoo itself"


def sentence(error: BaseException) -> str:
    """The first line of what was wrong in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
