"""Checks of backbones and necks: the maps they declare are the maps they give."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from detzoo.testing.specimens import feature_maps, image_batch
from detzoo.testing.subject import (
    Subject,
    assert_close,
    assert_finite,
    assert_gradients,
    assert_unchanged,
    backward,
    snapshot,
)
from detzoo.types import FeatureMaps

_SLACK: Final = 2.0  # cells: unpadded convolutions and floor or ceil poolings lose or win one or two


def check_declared_maps(subject: Subject) -> None:
    """Names, order, channels, strides and, of a neck, sizes in ``out`` are those of real outputs, at every size."""
    out = subject.component.out
    strides = [spec.stride for spec in out.values()]
    assert out, "out is empty: declare the maps that forward returns"
    assert strides == sorted(strides), f"out must list the finest map first, its strides are {strides}"
    for size in subject.sizes:
        maps = _run(subject.component.eval(), subject, size)
        assert list(maps) == list(out), f"out declares {list(out)}, forward returns {list(maps)}"
        for name, spec in out.items():
            _check_map(name, maps[name], spec, size, batch=2)
            if subject.component.kind == "neck" and spec.size is not None:  # its inputs are of the size that fixes it
                cells = tuple(maps[name].shape[2:])
                assert cells == tuple(spec.size), f"{name} has {cells} cells, out declares size {tuple(spec.size)}"


def _check_map(name: str, found: torch.Tensor, spec: Any, size: tuple[int, int], *, batch: int) -> None:
    assert found.dtype == torch.float32, f"{name} is {found.dtype}, not float32"
    assert found.ndim == 4, f"{name} has shape {tuple(found.shape)}, not [B,C,h,w]"
    assert found.shape[0] == batch, f"{name} has {found.shape[0]} images, the input has {batch}"
    assert found.shape[1] == spec.channels, f"{name} has {found.shape[1]} channels, out declares {spec.channels}"
    for axis, pixels, cells in (("height", size[0], found.shape[2]), ("width", size[1], found.shape[3])):
        assert abs(cells - pixels / spec.stride) < _SLACK, (
            f"{name}: {pixels} px of {axis} became {cells} cells, out declares stride {spec.stride}"
        )


def check_same_input_same_output(subject: Subject) -> None:
    """Evaluation is deterministic: the same input gives the same maps twice."""
    component = subject.component.eval()
    given = _input(subject, subject.sizes[0])
    assert_close(component(given), component(given), "the first and the second answer to one input")


def check_batch_equals_singles(subject: Subject) -> None:
    """In evaluation mode an image gets the same maps alone as in a batch."""
    component = subject.component.eval()
    given = _input(subject, subject.sizes[0])
    together = component(given)
    for row in range(2):
        alone = component(_row(given, row))
        assert_close({k: v[row : row + 1] for k, v in together.items()}, alone, f"image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Inputs keep their values: another branch may read them too."""
    given = _input(subject, subject.sizes[0])
    before = snapshot(given)
    subject.component.train()(given)
    assert_unchanged(before, given, "the input")


def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """Nothing that is trainable is left out of the maps."""
    component: nn.Module = subject.component.train()
    maps = _run(component, subject, subject.sizes[0])
    assert_finite(maps, "the output")
    if any(parameter.requires_grad for parameter in component.parameters()):
        backward(maps)
        assert_gradients(component, "forward")


def _run(component: nn.Module, subject: Subject, size: tuple[int, int]) -> FeatureMaps:
    maps: FeatureMaps = component(_input(subject, size))
    return maps


def _input(subject: Subject, size: tuple[int, int]) -> Any:
    if subject.component.kind == "backbone":
        return image_batch(size).pixels
    return feature_maps(subject.features, size)


def _row(given: Any, row: int) -> Any:
    if isinstance(given, torch.Tensor):
        return given[row : row + 1]
    return {name: tensor[row : row + 1] for name, tensor in given.items()}
