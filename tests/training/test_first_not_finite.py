"""The layer that overflows is named, and only that one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detzoo.training.first_not_finite import first_not_finite
from detzoo.types import Predictions


def test_a_finite_network_has_none() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert first_not_finite(net, lambda: net(torch.ones(1, 2))) is None
    assert first_not_finite(net, lambda: net(torch.ones(0, 2))) is None


def test_half_precision_overflows_in_the_second_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU()), nn.Linear(4, 1))
    nn.init.constant_(net[0].weight, 100.0)  # type: ignore[arg-type]
    nn.init.zeros_(net[0].bias)  # type: ignore[arg-type]
    nn.init.constant_(net[1][0].weight, 100.0)  # type: ignore[index]

    def run() -> Tensor:
        with torch.autocast("cpu", torch.float16):
            out: Tensor = net(torch.ones(1, 4))
            return out

    # 4 * 100 = 400, then 4 * 100 * 400 = 160,000 > 65,504
    assert first_not_finite(net, run) == "1.0 (Linear) in float16, of inputs of at most 400"
    assert first_not_finite(net, lambda: net(torch.ones(1, 4))) is None  # in float32


def test_weights_that_are_not_finite_are_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    nn.init.constant_(net[0].bias, float("nan"))  # type: ignore[arg-type]
    assert first_not_finite(net, lambda: net(torch.ones(1, 2))) == "0 (Linear) in float32, its weights are not finite"


def test_what_lies_in_predictions_is_seen_and_no_hook_stays() -> None:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> Predictions:
            return Predictions(x / 0, "sigmoid", x[..., None, :])

    head = Head()
    found = first_not_finite(head, lambda: head(torch.ones(1, 2, 4)))
    assert found == "the network (Head) in float32, of inputs of at most 1"
    assert not head._forward_hooks
