"""Logits of 50,000 in half precision: losses, gradients and detections are computed in float32 and stay finite."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn

from detzoo.interfaces import DenseHead, MaskHead, RoiHead
from detzoo.prediction.apply_switches import noise
from detzoo.prediction.predict import prepared
from detzoo.types import Predictions
from tests.matrix.test_cuda import QUICK, RECIPES, built, truth

HUGE: Final = 5e4
HEADS: Final = (DenseHead, RoiHead, MaskHead)


def huge(logits: Tensor) -> Tensor:
    """float16, HUGE or -HUGE, with the gradient of the logits."""
    signs = torch.where(torch.arange(logits.numel()).view_as(logits) % 3 == 0, HUGE, -HUGE)
    return (logits - logits.detach() + signs).half()


def in_half(_: nn.Module, __: Any, output: Any) -> Any:
    """What a head says, as a network in half precision would."""
    if isinstance(output, Tensor):  # mask logits
        return huge(output)
    if isinstance(output, tuple):
        return tuple(in_half(_, __, one) for one in output)
    if not isinstance(output, Predictions):
        return output
    given = {
        "class_logits": output.class_logits,
        "quality_logits": output.quality_logits,
        "distribution": output.distribution,
    }
    changed: dict[str, Any] = {name: huge(value) for name, value in given.items() if value is not None}
    aux = tuple(dataclasses.replace(one, predictions=in_half(_, __, one.predictions)) for one in output.aux)
    return dataclasses.replace(output, deltas=output.deltas.half(), aux=aux, **changed)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in RECIPES]
)
def test_huge_logits_in_half_precision(name: str) -> None:
    detector = built(name)
    for module in detector.modules():
        if isinstance(module, HEADS):
            module.register_forward_hook(in_half)
    batch = prepared(detector, noise(2, (90, 120)))
    terms = detector.train().losses(batch, truth(batch))
    assert {term.dtype for term in terms.values()} == {torch.float32}
    total = torch.stack(list(terms.values())).sum()
    assert bool(torch.isfinite(total))
    total.backward()  # type: ignore[no-untyped-call]
    gradients = [value.grad for value in detector.parameters() if value.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(one).all()) for one in gradients)
    with torch.no_grad():
        found = detector.eval().detect(batch)
    assert found.scores.dtype is torch.float32
    assert found.boxes.dtype is torch.float32
    assert bool(torch.isfinite(found.scores).all())
    assert bool(torch.isfinite(found.boxes).all())
