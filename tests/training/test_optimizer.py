from __future__ import annotations

import pytest
import torch
from torch import nn

from detzoo.errors import TrainingError
from detzoo.training.optimizer import (
    build_optimizer,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
    set_rates,
    trainable,
)
from detzoo.training.plan import Optimizer


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
            "head": nn.Linear(4, 2),
        }
    )


def by_name(settings: Optimizer, names: list[str] | None = None, lr: float = 1.0) -> dict[str, tuple[float, float]]:
    module = model()
    groups = parameter_groups(module, settings, names or trainable(module, ("*",)), lr=lr)
    assert sum(len(group["params"]) for group in groups) == len(names or list(module.parameters()))
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_caffe_ssd_doubles_biases_and_decays_filters_only() -> None:
    found = by_name(Optimizer(lr=1e-3, weight_decay=5e-4, bias_lr_multiplier=2.0), lr=1e-3)
    assert found == {
        "backbone.0.weight": (1e-3, 5e-4),
        "backbone.0.bias": (2e-3, 0.0),
        "backbone.1.weight": (1e-3, 0.0),
        "backbone.1.bias": (1e-3, 0.0),
        "head.weight": (1e-3, 5e-4),
        "head.bias": (2e-3, 0.0),
    }


def test_groups_are_told_by_what_sets_them_apart() -> None:
    settings = Optimizer(lr=1e-3, weight_decay=5e-4, groups={"backbone.*": 0.3})
    module = model()
    groups = parameter_groups(module, settings, trainable(module, ("*",)), lr=1e-3)
    assert [group["label"] for group in groups] == [
        "backbone.* x0.3, weight decay 0.0005", "backbone.* x0.3, weight decay 0",
        "others x1, weight decay 0.0005", "others x1, weight decay 0",
    ]  # fmt: skip


def test_decay_all_decays_everything() -> None:
    found = by_name(Optimizer(lr=1.0, weight_decay=0.1, decay="all"))
    assert {decay for _, decay in found.values()} == {0.1}


def test_the_last_matching_glob_sets_the_rate() -> None:
    settings = Optimizer(lr=1.0, bias_lr_multiplier=2.0, groups={"backbone.*": 0.1, "backbone.1.*": 0.5})
    found = {name: rate for name, (rate, _) in by_name(settings).items()}
    assert found["backbone.0.weight"] == 0.1
    assert found["backbone.0.bias"] == 0.2
    assert found["backbone.1.bias"] == 0.5
    assert found["head.bias"] == 2.0


def test_a_glob_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(TrainingError) as caught:
        by_name(Optimizer(lr=1.0, groups={"bakbone.*": 0.1}))
    assert str(caught.value) == ("train.optimizer.groups: 'bakbone.*' matches no parameter; the nearest are backbone.*")


def test_frozen_parameters_stay_out() -> None:
    module = model()
    module.get_parameter("backbone.0.weight").requires_grad_(False)
    assert "backbone.0.weight" not in trainable(module, ("*",))
    assert trainable(module, ("head.*",)) == ["head.weight", "head.bias"]
    with pytest.raises(TrainingError) as caught:
        trainable(module, ("neck.*",))
    assert str(caught.value) == (
        "nothing to train: of 6 parameters none matches neck.* and is left unfrozen; "
        "look at backbone.freeze and at the stage's globs"
    )


@pytest.mark.parametrize(
    ("name", "cls"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW), ("rmsprop", torch.optim.RMSprop)]
)
def test_state_survives_a_round_trip(name: str, cls: type[torch.optim.Optimizer]) -> None:
    def step(module: nn.Module, optimizer: torch.optim.Optimizer, x: float) -> None:
        optimizer.zero_grad()
        torch.stack([(p * x).sum() ** 2 for p in module.parameters()]).sum().backward()  # type: ignore[no-untyped-call]
        set_rates(optimizer, x)
        optimizer.step()

    settings = Optimizer(name=name, lr=0.01, weight_decay=0.1)  # type: ignore[arg-type]
    one, two = model(), model()
    optimizers = [
        build_optimizer(parameter_groups(m, settings, trainable(m, ("*",)), lr=0.01), settings) for m in (one, two)
    ]
    assert isinstance(optimizers[0], cls)
    step(one, optimizers[0], 0.5)
    two.load_state_dict(one.state_dict())
    restore_optimizer(optimizers[1], optimizer_tensors(optimizers[0]))
    for module, optimizer in zip((one, two), optimizers, strict=True):
        step(module, optimizer, 0.7)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_state_of_another_model_is_refused() -> None:
    module, settings = model(), Optimizer(lr=0.01)
    optimizer = build_optimizer(parameter_groups(module, settings, ["head.bias"], lr=0.01), settings)
    with pytest.raises(TrainingError) as caught:
        restore_optimizer(optimizer, {"head.weight/momentum_buffer": torch.zeros(2, 4)})
    assert str(caught.value) == "the checkpoint holds optimiser state of head.weight, which this run does not train"


def test_the_schedule_scales_every_group_from_its_own_base() -> None:
    module, settings = model(), Optimizer(lr=0.01, bias_lr_multiplier=2.0)
    optimizer = build_optimizer(parameter_groups(module, settings, trainable(module, ("*",)), lr=0.01), settings)
    for factor in (0.5, 0.1):
        set_rates(optimizer, factor)
        assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(
            [0.01 * factor, 0.02 * factor]
        )
