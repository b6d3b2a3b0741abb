"""Checks that every component with parameters must pass, whatever its kind."""

from __future__ import annotations

import torch
from torch import nn

from detzoo.testing.specimens import OTHER_SEED, SEED
from detzoo.testing.subject import Subject, parameters_of


def check_same_seed_same_weights(subject: Subject) -> None:
    """Built twice from one seed, its parameters and buffers are equal."""
    first, second = dict(parameters_of(subject.component)), dict(parameters_of(subject.rebuild(SEED)))
    assert list(first) == list(second), "its parameters have other names the second time"
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} differs although the seed was the same"


def check_state_dict_round_trip(subject: Subject) -> None:
    """A state dict loads strictly into another instance, which then holds the same values."""
    if not isinstance(subject.component, nn.Module):
        return
    other = subject.rebuild(OTHER_SEED)
    state = {name: tensor.clone() for name, tensor in subject.component.state_dict().items()}
    other.load_state_dict(state, strict=True)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, state[name]), f"{name} is not what was loaded"


def check_moves_between_dtypes(subject: Subject) -> None:
    """No tensor is hidden from ``.to()``: plain attributes are not moved, parameters and buffers are."""
    if not isinstance(subject.component, nn.Module):
        return
    for path, module in subject.component.named_modules():
        for name, value in vars(module).items():
            assert not isinstance(value, torch.Tensor), (
                f"{path + '.' if path else ''}{name} is a plain tensor: .to(device) leaves it behind; "
                "register_buffer(..., persistent=False) moves it"
            )
