from __future__ import annotations

import torch
from torch import nn

from detzoo.training.ema import Ema


def test_average_follows_the_formula() -> None:
    module = nn.Linear(1, 1, bias=False)
    values = [1.0, 4.0, 2.0, -3.0]
    module.weight.data.fill_(values[0])
    ema, expected = Ema(module, decay=0.25), values[0]
    for t, value in enumerate(values[1:], start=1):
        module.weight.data.fill_(value)
        ema.update(module, t)
        d = min(0.25, (1 + t) / (10 + t))  # 2/11 = 0.18, then 3/12 = 0.25, then capped
        expected = d * expected + (1 - d) * value
        torch.testing.assert_close(ema.average["weight"].item(), expected, rtol=1e-6, atol=1e-6)


def test_integer_buffers_are_copied_and_weights_come_back_bit_for_bit() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(module, decay=0.9)
    module(torch.randn(4, 2))
    for parameter in module.parameters():
        parameter.data.normal_()
    ema.update(module, 1)
    own = {name: value.clone() for name, value in module.state_dict().items()}
    assert ema.average["1.num_batches_tracked"].item() == 1
    with ema.applied(module):
        assert all(torch.equal(ema.average[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(own[name], value) for name, value in module.state_dict().items())
