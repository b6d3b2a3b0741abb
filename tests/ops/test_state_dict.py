"""State dicts of other implementations: every tensor accounted for, frozen norms that compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detzoo.errors import WeightsError
from detzoo.ops.state_dict import by_rules, renamed_state

RULES = ((r"a\.(weight|bias)", r"conv.\1"), (r"n\.(.+)", r"norm.\1"))


def network(norm: nn.Module) -> nn.Module:
    made = nn.Module()
    made.conv, made.norm = nn.Conv2d(2, 3, 1), norm
    return made


def foreign(norm: nn.Module) -> dict[str, Tensor]:
    parts = {"a": nn.Conv2d(2, 3, 1), "n": norm}
    return {f"{part}.{key}": value for part, layer in parts.items() for key, value in layer.state_dict().items()}


def rename(key: str) -> str | None:
    return by_rules(RULES, key)


def seen() -> nn.BatchNorm2d:
    """A trainable norm that has seen a batch."""
    norm = nn.BatchNorm2d(3)
    norm(torch.randn(4, 3, 5, 5))
    return norm


def test_the_first_rule_that_fits_a_whole_key() -> None:
    assert by_rules((("x", "first"), ("x|y", "second")), "x") == "first"
    assert by_rules((("x", "first"), ("x|y", "second")), "y") == "second"
    assert by_rules((("x", "first"),), "xy") is None
    assert by_rules((), "x") is None


def test_names_change_and_values_do_not() -> None:
    state = foreign(seen())
    given = renamed_state(state, rename, network(nn.BatchNorm2d(3)), source="other")
    assert given.keys() == network(nn.BatchNorm2d(3)).state_dict().keys()
    assert torch.equal(given["conv.weight"], state["a.weight"])
    assert torch.equal(given["norm.running_var"], state["n.running_var"])
    assert given["norm.num_batches_tracked"] == 1


def test_a_trainable_norm_becomes_a_frozen_one_that_computes_the_same() -> None:
    norm = seen().eval()
    ours = FrozenBatchNorm2d(3, eps=1e-3)
    frozen = network(ours)
    state = renamed_state(foreign(norm), rename, frozen, source="other")
    frozen.load_state_dict(state)
    pixels = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(ours(pixels), norm(pixels))


def test_counters_that_a_source_lacks_stay_our_own() -> None:
    state = {key: value for key, value in foreign(seen()).items() if "num_batches" not in key}
    assert renamed_state(state, rename, network(seen()), source="other")["norm.num_batches_tracked"] == 1


def test_a_value_can_be_given_another_layout() -> None:
    state = foreign(seen()) | {"a.bias": torch.zeros(1, 3)}
    flat = renamed_state(
        state, rename, network(seen()), source="other", convert=lambda n, v: v.flatten() if n == "conv.bias" else v
    )
    assert flat["conv.bias"].shape == (3,)


def test_nothing_is_left_over_and_nothing_is_lacking() -> None:
    state = foreign(seen())
    end = "Is it of the same architecture and number of classes as the recipe?"
    cases: tuple[tuple[dict[str, Tensor], str], ...] = (
        (state | {"z": torch.zeros(1)}, "has keys that no rule of the converter knows: z"),
        (state | {"n.scale": torch.zeros(3)}, "gives tensors that this detector does not have: norm.scale"),
        ({"a.weight": state["a.weight"]}, "lacks tensors that this detector needs: conv.bias, norm.bias, "
         "norm.running_mean, norm.running_var and 1 more"),
        ({}, "lacks tensors that this detector needs: conv.bias, conv.weight, norm.bias, norm.running_mean and 2 more"),
    )  # fmt: skip
    for given, problem in cases:
        with pytest.raises(WeightsError) as error:
            renamed_state(given, rename, network(seen()), source="other")
        assert str(error.value) == f"The other state dict {problem}. {end}"
