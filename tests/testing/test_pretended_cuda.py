"""The device that is pretended: values are those of the CPU, devices are kept apart, waits are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.testing.pretended_cuda import CUDA, TO_HOST, DevicesMeet, PretendedCuda, PretendedTensor

HERE = [Path(__file__).parent]


def on_cuda(values: Tensor) -> Tensor:
    return values.to("cuda:0")


def test_without_tensors_there_is_no_wait() -> None:
    with PretendedCuda(HERE) as cuda:
        pass
    assert cuda.waits == []


def test_it_says_where_it_lies_and_has_the_values() -> None:
    with PretendedCuda(HERE) as cuda:
        x = on_cuda(torch.arange(6.0).view(2, 3))
        made = [x + 1, x.new_tensor([1.0]), torch.zeros_like(x), torch.ones(2, device=x.device), x[[1, 0]], x[:, 1]]
        made.append(nn.functional.one_hot(x[0].long(), 3))
        assert all(one.device == CUDA and one.is_cuda and isinstance(one, PretendedTensor) for one in made)
        assert torch.zeros(2).device.type == "cpu"
        assert cuda.waits == []
        assert made[4].tolist() == [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]
        x[0] = 7  # in place, through a view
        assert x.cpu().tolist() == [[7.0] * 3, [3.0, 4.0, 5.0]]
        assert type(x.cpu()) is Tensor
        with pytest.raises(TypeError, match="host"):
            x.numpy()


@pytest.mark.parametrize(
    ("look", "operator"),
    [
        (lambda x: bool(x.sum() > 0), "aten::_local_scalar_dense"),
        (lambda x: x[0].item(), "aten::_local_scalar_dense"),
        (lambda x: x.nonzero(), "aten::nonzero"),
        (lambda x: x[x > 1], "aten::index"),
        (lambda x: torch.equal(x, x), "aten::equal"),
        (lambda x: x.cpu(), TO_HOST),
        (lambda x: x.tolist(), TO_HOST),
        (lambda x: x.to("cpu", torch.float64), TO_HOST),
        (lambda x: torch.empty(4).copy_(x), TO_HOST),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_looks_at_values_are_recorded_with_their_place(
    look: Callable[[Tensor], Any], operator: str, inference: bool
) -> None:
    with PretendedCuda(HERE) as cuda, torch.inference_mode(inference):
        x = on_cuda(torch.arange(4.0))
        assert cuda.waits == []
        look(x)
    assert [wait.operator for wait in cuda.waits] == [operator]
    assert cuda.waits[0].place == "test_pretended_cuda.py:<lambda>"


def test_a_copy_that_does_not_wait_is_none() -> None:
    with PretendedCuda(HERE) as cuda:
        assert on_cuda(torch.ones(2)).to("cpu", non_blocking=True).tolist() == [1.0, 1.0]
    assert cuda.waits == []


def test_two_devices_may_not_meet_but_for_scalars_and_indices() -> None:
    with PretendedCuda(HERE):
        x = on_cuda(torch.ones(3))
        assert (x * torch.tensor(2.0)).device == CUDA
        assert x[torch.tensor([0])].device == CUDA
        for meet in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(1)]), lambda: torch.ones(3)[x.long()]):
            with pytest.raises(DevicesMeet, match=r"test_pretended_cuda\.py:<lambda>"):
                meet()  # type: ignore[no-untyped-call]


def test_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    x = torch.randn(2, 3, 8, 8)
    net(x).square().sum().backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    net[1].reset_running_stats()  # type: ignore[operator]
    with PretendedCuda(HERE) as cuda:
        net.to("cuda:0")
        assert all(one.device == CUDA for one in net.state_dict().values())
        net(on_cuda(x)).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad.to("cpu", non_blocking=True), expected[name])
    assert cuda.waits == []


def test_outside_of_it_nothing_works() -> None:
    with PretendedCuda(HERE):
        x = on_cuda(torch.ones(2))
    with pytest.raises(RuntimeError, match="PretendedCuda"):
        x + 1
