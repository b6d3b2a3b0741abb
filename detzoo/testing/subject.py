"""What a check looks at: a built component with everything it needs to run, or a whole detector."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from detzoo.testing.specimens import FEATURES, NUM_CLASSES, SIZES
from detzoo.types import FeatureSpecs

if TYPE_CHECKING:
    from detzoo.interfaces import Detector


@dataclass(frozen=True)
class Subject:
    """A built component.

    Args:
        component: the object, built from ``SEED``; checks may change it, each gets a copy of its own.
        rebuild: seed -> another one, made from scratch.
        features: the declared inputs (necks, heads).
        sizes: (height, width) px of inputs that it must take; two that are not square unless its size is fixed.
        num_classes: K.
        detector: the detector that it is part of, where a recipe uses it; not to be changed.
    """

    component: Any
    rebuild: Callable[[int], Any]
    features: FeatureSpecs = field(default_factory=lambda: dict(FEATURES))
    sizes: tuple[tuple[int, int], ...] = SIZES
    num_classes: int = NUM_CLASSES
    detector: Detector | None = None

    def copied(self) -> Subject:
        """The same with a component of its own."""
        return Subject(
            copy.deepcopy(self.component), self.rebuild, self.features, self.sizes, self.num_classes, self.detector
        )


def tensors(value: Any) -> list[Tensor]:
    """Every tensor inside a value of the contract."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def snapshot(value: Any) -> list[Tensor]:
    """Copies of every tensor inside a value, to see later whether it was changed."""
    return [tensor.detach().clone() for tensor in tensors(value)]


def assert_unchanged(before: list[Tensor], value: Any, what: str) -> None:
    """Fail where a tensor inside ``value`` is not what it was."""
    for old, new in zip(before, tensors(value), strict=True):
        assert torch.equal(old, new.detach()), f"{what} changed in place: copy it before writing to it"


def assert_finite(value: Any, what: str) -> None:
    """Fail where a floating-point tensor inside ``value`` holds NaN or infinity."""
    for tensor in tensors(value):
        if tensor.is_floating_point():
            assert bool(torch.isfinite(tensor).all()), f"{what} holds NaN or infinity"


def assert_close(first: Any, second: Any, what: str, *, tolerance: float = 1e-4) -> None:
    """Fail where two values differ by more than rounding."""
    left, right = tensors(first), tensors(second)
    assert len(left) == len(right), f"{what}: {len(left)} tensors against {len(right)}"
    for one, other in zip(left, right, strict=True):
        assert one.shape == other.shape, f"{what}: shape {tuple(one.shape)} against {tuple(other.shape)}"
        if not one.is_floating_point():
            assert torch.equal(one, other), f"{what}: whole numbers differ"
            continue
        scale = max(1.0, float(other.detach().abs().max()) if other.numel() else 1.0)
        worst = float((one - other).detach().abs().max()) if one.numel() else 0.0
        assert worst <= tolerance * scale, f"{what}: they differ by {worst:.2g}, more than rounding"


def image(value: Any, row: int) -> Any:
    """Image ``row`` of a batched value, as a batch of one; tensors shared by all images (leading 1) stay."""
    return pytree.tree_map_only(Tensor, lambda t: t if t.shape[0] == 1 else t[row : row + 1], value)


def assert_gradients(module: nn.Module, what: str) -> None:
    """Fail where a trainable parameter got no gradient, or one that is not finite."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, (
                f"{what}: no gradient reaches {name}; freeze it, drop it, or use it in forward"
            )
            assert bool(torch.isfinite(parameter.grad).all()), f"{what}: the gradient of {name} is NaN or infinite"


def backward(value: Any) -> None:
    """Gradients of a weighted sum of everything inside ``value``; the weights differ, so that nothing cancels."""
    total = torch.zeros(())
    for tensor in tensors(value):
        if tensor.requires_grad and tensor.is_floating_point():
            weight = torch.linspace(0.5, 1.5, tensor.numel()).reshape(tensor.shape)
            total = total + (tensor * weight).sum()
    assert total.requires_grad, "the output is cut from the graph: nothing can be trained"
    total.backward()  # type: ignore[no-untyped-call]


def parameters_of(component: Any) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; none for components that are no modules."""
    if isinstance(component, nn.Module):
        yield from component.state_dict().items()
