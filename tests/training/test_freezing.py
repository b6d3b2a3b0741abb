"""What a stage does not train stays as it is, to the bit: weights, batch-norm statistics, counters, averages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.backbones.freeze import freeze
from detzoo.interfaces import FittingStage, GradientStage, Stage, StageContext
from detzoo.training import train
from detzoo.training.freezing import training_only
from detzoo.weights.checkpoint import load_checkpoint
from tests.training.training_toy import ToyDataset, ToyDetector, toy_plan


def part() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.InstanceNorm2d(3), nn.Dropout()
    )


class Network(nn.Module):
    """A batch norm of each kind in either half."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = part(), part()

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.head(self.backbone(pixels))
        return out


def modes(module: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in module.named_modules() if "norm" in type(part).__name__.lower()}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def names(module: nn.Module, prefix: str) -> list[str]:
    return [name for name, _ in module.named_parameters() if name.startswith(prefix)]


def test_batch_norms_outside_the_stage_keep_their_statistics() -> None:
    network = Network()
    before = state(network)
    with training_only(network, names(network, "head."), ["head.*"]) as frozen:
        assert modes(network) == {
            "backbone.1": False, "backbone.2": False, "backbone.3": False,
            "head.1": True, "head.2": True, "head.3": True,
        }  # fmt: skip
        assert len(frozen) == 4  # convolution and affine part
        assert [n for n, p in network.named_parameters() if p.requires_grad] == names(network, "head.")
        network(torch.randn(4, 3, 5, 5))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"head"}
    assert all(modes(network).values())
    assert all(p.requires_grad for p in network.parameters())


def test_everything_trains_where_the_stage_trains_everything() -> None:
    network = Network().eval()
    with training_only(network, names(network, ""), ["*"]) as frozen:
        assert frozen == []
        assert all(module.training for module in network.modules())


def test_stored_statistics_stay_while_everything_else_learns() -> None:
    network = Network()
    before = state(network)
    with training_only(network, names(network, ""), ["*"], stored_norms=True) as frozen:
        assert frozen == []
        assert not any(modes(network).values())
        assert network.backbone[4].training  # dropout is no norm
        network(torch.randn(4, 3, 5, 5)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is not None for p in network.parameters())
    assert all(modes(network).values())


def test_a_batch_norm_of_which_one_parameter_is_trained_is_not_frozen() -> None:
    network = Network()
    with training_only(network, ["backbone.1.bias"], ["backbone.1.bias"]):
        assert modes(network)["backbone.1"]
        assert not modes(network)["backbone.2"]  # without parameters, and no glob means its statistics


def test_what_the_recipe_froze_stays_frozen_afterwards() -> None:
    network = Network()
    freeze(network.backbone, ["norm"])
    with training_only(network, names(network, "head."), ["head.*"]):
        assert not modes(network)["backbone.1"]
    assert not modes(network)["backbone.1"]
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == ["backbone.1.weight", "backbone.1.bias"]


def test_it_comes_back_after_an_error() -> None:
    network = Network()
    with pytest.raises(KeyError), training_only(network, names(network, "head."), ["head.*"]):
        raise KeyError
    assert all(modes(network).values())
    assert all(p.requires_grad for p in network.parameters())


class HeadThenAll(ToyDetector):
    """The head for an epoch, then all of it; the averages of either stage are kept by the test."""

    def stages(self) -> list[Stage]:
        return [
            GradientStage(name="head", train=("head.*",)),
            FittingStage(name="look", fit=self.look),
            GradientStage(name="all"),
        ]

    def look(self, context: StageContext) -> None:
        self.seen = state(self)
        self.drawn = torch.rand(3)
        assert context.main


def detector(seed: int = 0) -> HeadThenAll:
    torch.manual_seed(seed)
    made = HeadThenAll(lively=True)
    made.train_plan = toy_plan(epochs=1, ema=0.5)
    return made


def test_a_stage_hands_on_its_average_and_leaves_frozen_parts_alone(tmp_path: Path) -> None:
    made = detector()
    first = state(made)
    train(made, ToyDataset(), tmp_path / "run", val=ToyDataset(4, "val"), device="cpu", workers=0, progress=False)
    kept = load_checkpoint(tmp_path / "run" / "stage-head.safetensors")
    assert {n for n in first if not torch.equal(first[n], kept.model[n])} == {"head.weight", "head.bias"}
    assert {n for n in first if not torch.equal(made.seen[n], kept.model[n])} == set()
    assert kept.ema == {}  # the weights are the average
    assert not torch.equal(made.state_dict()["backbone.1.running_mean"], first["backbone.1.running_mean"])


def test_a_stage_of_its_own_kind_draws_the_same_numbers_when_it_is_resumed(tmp_path: Path) -> None:
    whole, broken, resumed = detector(), detector(), detector(seed=9)
    data = ToyDataset()
    train(whole, data, tmp_path / "whole", device="cpu", workers=0, progress=False)

    def fail(context: StageContext) -> None:
        raise KeyboardInterrupt

    broken.look = fail  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(broken, data, tmp_path / "run", device="cpu", workers=0, progress=False)
    train(resumed, data, tmp_path / "run", resume=True, device="cpu", workers=0, progress=False)
    assert torch.equal(whole.drawn, resumed.drawn)
    ends = [state(one) for one in (whole, resumed)]
    assert [n for n in ends[0] if not torch.equal(ends[0][n], ends[1][n])] == []
