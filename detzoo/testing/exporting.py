"""Checks that a part can be exported: a graph of it leaves the number of images free."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detzoo.testing.specimens import feature_maps
from detzoo.testing.subject import Subject, tensors


class _Part(nn.Module):
    """A neck or a head between plain tensors."""

    def __init__(self, part: nn.Module, names: tuple[str, ...], size: tuple[int, int]) -> None:
        super().__init__()
        self.part, self.names, self.size = part, names, size

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """What the part gives of its maps, as tensors."""
        features = dict(zip(self.names, maps, strict=True))
        found: Any = self.part(features, *self._batch(maps[0]))
        # what all images share, such as anchors, comes out as it is
        return tuple(tensor for tensor in tensors(found) if tensor.is_floating_point())

    def _batch(self, first: Tensor) -> tuple[Any, ...]:
        return ()


class _Head(_Part):
    def _batch(self, first: Tensor) -> tuple[Any, ...]:
        from detzoo.export.network import image_batch as batch_of

        return (batch_of(first.new_zeros(first.shape[0], 3, *self.size)),)


def check_neck_leaves_the_number_of_images_free(subject: Subject) -> None:
    """``torch.export`` records it for any number of images: shapes are read with ``.shape``, never with ``len``."""
    _record(_Part(subject.component.eval(), tuple(subject.features), subject.sizes[0]), subject)


def check_head_leaves_the_number_of_images_free(subject: Subject) -> None:
    """``torch.export`` records it for any number of images: shapes are read with ``.shape``, never with ``len``."""
    _record(_Head(subject.component.eval(), tuple(subject.features), subject.sizes[0]), subject)


def _record(part: _Part, subject: Subject) -> None:
    from detzoo.export.network import quiet, sentence

    given = tuple(feature_maps(subject.features, subject.sizes[0]).values())
    images = torch.export.Dim("batch", min=1, max=1024)
    why = ""
    try:
        with torch.no_grad(), quiet():
            torch.export.export(part, given, dynamic_shapes=(tuple({0: images} for _ in given),), strict=False)
    except Exception as error:  # whatever the tracer stumbles upon
        why = sentence(error)
    assert not why, (
        f"torch.export cannot record it for any number of images: {why}. Read sizes with tensor.shape[0], not with "
        "len(tensor), and let no value of a tensor decide"
    )
