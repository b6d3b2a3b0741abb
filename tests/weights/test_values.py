"""Values that no weights have are named; nothing is cast or loaded in silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detzoo.errors import WeightsError
from detzoo.weights.detector import check_values
from detzoo.weights.values import value_problems


def state() -> dict[str, Tensor]:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).state_dict()


WRONG: dict[str, tuple[str, Tensor, str]] = {
    "NaN": ("0.bias", torch.tensor([1.0, float("nan")]), "1 of 2 values are NaN or infinite"),
    "infinite": ("0.bias", torch.tensor([float("inf"), -float("inf")]), "2 of 2 values are NaN or infinite"),
    "whole numbers": ("0.bias", torch.tensor([1, 2], dtype=torch.int32), "is int32"),
    "truth values": ("0.bias", torch.tensor([True, False]), "is bool"),
    "8 bits": ("0.bias", torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), "is float8_e4m3fn"),
    "complex": ("0.bias", torch.tensor([1j, 2]), "is complex64"),
    "a complex count": ("1.num_batches_tracked", torch.tensor(1j), "is complex64, must be int64"),
    "a truth value as a count": ("1.num_batches_tracked", torch.tensor(True), "is bool, must be int64"),
    "a negative variance": ("1.running_var", torch.tensor([1.0, -0.5]), "a variance is negative (-0.5)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_named(case: str) -> None:
    name, value, words = WRONG[case]
    (found,) = value_problems(state(), state() | {name: value})
    assert found.startswith(f"{name}: {words}")


def test_good_values_of_any_precision_are_no_problem() -> None:
    assert value_problems(state(), state()) == []
    assert (
        value_problems(state(), {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in state().items()})
        == []
    )
    assert value_problems(state(), state() | {"1.num_batches_tracked": torch.tensor(3.0)}) == []
    assert value_problems(state(), state() | {"1.num_batches_tracked": torch.tensor(3, dtype=torch.int32)}) == []
    assert value_problems({}, state()) == []


def test_infinity_is_allowed_where_the_module_itself_has_it() -> None:
    edges = {"edges": torch.tensor([0.0, float("inf")])}
    assert value_problems(edges, edges) == []


def test_a_network_rejects_them_with_the_file_and_the_first_names() -> None:
    module = nn.Linear(1, 1)
    bad = {name: torch.full_like(value, float("nan")) for name, value in module.state_dict().items()}
    with pytest.raises(WeightsError, match=r"^run/last\.safetensors holds values .* weight: 1 of 1 .*; bias: 1 of 1"):
        check_values(module, bad, "run/last.safetensors")
