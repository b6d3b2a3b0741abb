"""torchvision.transforms.v2 by name, with boxes, masks and everything that belongs to them."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from detzoo.data.loading.threads import one_thread
from detzoo.data.loading.transforms.box_rows import keep_rows
from detzoo.errors import RecipeError
from detzoo.interfaces import Draw, Transform
from detzoo.prediction.proposal_file import ProposalsError
from detzoo.schema.describing import unknown
from detzoo.types import Sample

Plain: TypeAlias = bool | int | float | str | None
_LEFT_OUT: Final = frozenset(
    "Transform Compose RandomApply RandomChoice RandomOrder Lambda LinearTransformation "  # made of other objects
    "ToTensor ToImage ToPILImage ToPureTensor PILToTensor ToDtype ConvertImageDtype Normalize "  # no uint8 image after
    "AugMix AutoAugment RandAugment TrivialAugmentWide "  # of images without boxes alone
    "CutMix MixUp FiveCrop TenCrop UniformTemporalSubsample "  # of batches, to several images, of videos
    "SanitizeBoundingBoxes SanitizeKeyPoints ClampBoundingBoxes ClampKeyPoints ConvertBoundingBoxFormat "
    "SetClampingMode".split()  # of boxes alone: what they do is done here
)


class TorchvisionV2(Transform):
    """A transform of ``torchvision.transforms.v2``.

    Boxes, masks and proposals go through it as tv_tensors. Then boxes are cut to the image, and those go that
    ``SanitizeBoundingBoxes`` would drop: with a side below ``min_size``. Labels, flags, masks and weights follow.
    ``fill`` is that of the image: masks are filled with 0. ``RandomIoUCrop`` leaves an image without boxes as it is, to
    which torchvision comes after some tries, and carries no image-level regions, for which there is ``iou_crop``.

    torchvision uses torch's global generator. For the call it is seeded from the given one, and put back.

    Args:
        name: the class, as ``RandomPhotometricDistort``.
        arguments: what its constructor takes, by name.
        min_size: px of each side that a box must keep.

    Source: torchvision, "Transforms v2"; its training plans stand in references/detection/presets.py.
    """

    def __init__(
        self,
        *,
        name: str,
        arguments: dict[str, Plain | list[Plain]] | None = None,
        min_size: Annotated[float, Field(ge=1)] = 1.0,
    ) -> None:
        self.name, self.min_size = name, min_size
        self.transform = _made(name, arguments or {})
        self._try()

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return what torchvision makes of the sample.

        Raises:
            ProposalsError: ``RandomIoUCrop`` of a sample with image-level regions.
        """
        if self.name == "RandomIoUCrop":
            if sample.proposals is not None:
                raise ProposalsError("torchvision_v2: RandomIoUCrop carries no image-level regions; take iou_crop")
            if len(sample.boxes) == 0:
                return sample
        inputs = _tensors(sample)
        with _seeded(int(rng.integers(2**63 - 1))), one_thread():  # one thread: the same pixels in a worker and without
            outputs = self.transform(inputs)
        image = np.ascontiguousarray(outputs["image"].permute(1, 2, 0).numpy())
        boxes, valid = functional.sanitize_bounding_boxes(
            functional.clamp_bounding_boxes(outputs["boxes"]), min_size=self.min_size, min_area=1.0
        )
        moved = dataclasses.replace(
            sample,
            image=image,
            masks=None if sample.masks is None else outputs["masks"].numpy(),
            proposals=None if sample.proposals is None else self._proposals(outputs["proposals"]),
        )
        return dataclasses.replace(keep_rows(moved, valid.numpy()), boxes=boxes.as_subclass(Tensor).numpy())

    def _proposals(self, boxes: tv_tensors.BoundingBoxes) -> Any:
        kept, _ = functional.sanitize_bounding_boxes(functional.clamp_bounding_boxes(boxes), min_size=self.min_size)
        return kept.as_subclass(Tensor).numpy()

    def _try(self) -> None:
        """A first call, on a small grey image: a wrong argument often shows only here."""
        sample = Sample(
            image=np.full((64, 64, 3), 128, np.uint8),
            boxes=np.array([[16, 16, 48, 48]], np.float32),
            labels=np.zeros(1, np.int64),
            difficult=np.zeros(1, np.bool_),
            crowd=np.zeros(1, np.bool_),
            image_id=0,
            path="",
            masks=np.ones((1, 64, 64), np.uint8),
        )
        try:
            found = self(sample, np.random.default_rng(0), _no_other)
        except Exception as error:  # of whatever kind torchvision raises: the user wrote the arguments
            raise RecipeError(f"arguments: torchvision's {self.name} fails with them: {error}") from error
        if found.image.dtype != np.uint8 or found.image.ndim != 3 or found.image.shape[2] != 3:
            shape = " x ".join(str(side) for side in found.image.shape)
            raise RecipeError(f"name: {self.name} makes {found.image.dtype} {shape} of an image, not RGB bytes")


def known_names() -> list[str]:
    """Classes of torchvision.transforms.v2 that take and give one image."""
    found = (name for name, value in vars(v2).items() if isinstance(value, type) and issubclass(value, v2.Transform))
    return sorted(set(found) - _LEFT_OUT)


def _made(name: str, arguments: Mapping[str, Any]) -> v2.Transform:
    if name not in known_names():
        raise RecipeError(f"name: {unknown('transform of torchvision.transforms.v2', name, known_names())}")
    cls = getattr(v2, name)
    allowed = [parameter for parameter in inspect.signature(cls).parameters if parameter != "inplace"]
    for argument in arguments:
        if argument not in allowed:
            raise RecipeError(f"arguments: {unknown('argument', argument, allowed, of=name)}")
    given = dict(arguments)
    if given.get("fill") is not None:
        # torchvision would fill masks with the colour too
        given["fill"] = {tv_tensors.Image: given["fill"], "others": 0}
    try:
        made: v2.Transform = cls(**given)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"arguments: torchvision's {name} does not take them: {error}") from error
    return made


def _tensors(sample: Sample) -> dict[str, Tensor]:
    """Copies of the sample's arrays, because some transforms write in place."""
    size = sample.image.shape[:2]
    found: dict[str, Tensor] = {
        "image": tv_tensors.Image(torch.from_numpy(sample.image.transpose(2, 0, 1).copy())),
        "boxes": _boxes(sample.boxes, size),
    }
    if sample.masks is not None:
        found["masks"] = tv_tensors.Mask(torch.from_numpy(sample.masks.copy()))
    # after the boxes: torchvision looks at the first BoundingBoxes that it finds
    if sample.proposals is not None:
        found["proposals"] = _boxes(sample.proposals, size)
    return found


def _boxes(boxes: Any, size: tuple[int, ...]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(torch.from_numpy(boxes.copy()), format="XYXY", canvas_size=(size[0], size[1]))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The CPU's global generator alone: seeding all devices would change those of the model."""
    state = torch.random.get_rng_state()  # put back: the model's dropout must not depend on augmentation
    torch.default_generator.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            # RandomErasing says so of boxes, which are to stay as they are
            warnings.filterwarnings("ignore", ".* is currently passing through inputs of type", UserWarning)
            yield
    finally:
        torch.random.set_rng_state(state)


def _no_other(*, plain: bool = False) -> Sample:
    raise AssertionError("it looks at one image")
