"""Freezing parameters and statistics."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from detzoo.components.backbones.freeze import FrozenBatchNorm2d, freeze
from detzoo.components.backbones.mobilenet import MobileNetV2
from detzoo.components.backbones.resnet import ResNet18
from detzoo.components.backbones.vgg import Vgg16
from detzoo.errors import RecipeError


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def step(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """One training step; returns the state before it."""
    before = copy.deepcopy(backbone.state_dict())
    backbone.train()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    loss = sum(((v - 1) ** 2).mean() for v in backbone(torch.randn(2, 3, 64, 64) + 1).values())
    if trained:
        optimiser = torch.optim.SGD(trained, lr=0.1)
        loss.backward()
        optimiser.step()
    return before


def changed(backbone: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}


def test_nothing_to_freeze() -> None:
    backbone = ResNet18()
    assert freeze(backbone, False) == []
    assert freeze(backbone, []) == []
    assert all(p.requires_grad for p in backbone.parameters())


def test_frozen_batch_norm_keeps_its_statistics_in_training_mode() -> None:
    live, frozen = ResNet18(), ResNet18()
    freeze(frozen, ["norm"])
    moved = changed(live, step(live))
    assert any("running_mean" in name for name in moved)
    moved = changed(frozen, step(frozen))
    assert moved, "convolutions still learn"
    assert not any("bn" in name or "downsample.1" in name for name in moved)
    assert all(not m.training for m in norms(frozen))
    assert len(norms(frozen)) == 20


def test_statistics_alone() -> None:
    backbone = ResNet18()
    assert freeze(backbone, ["norm_stats"]) == []
    moved = changed(backbone, step(backbone))
    assert "body.bn1.weight" in moved
    assert not any(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)


def test_true_freezes_everything() -> None:
    backbone = ResNet18()
    assert len(freeze(backbone, True)) == len(list(backbone.parameters()))
    assert changed(backbone, step(backbone)) == set()


def test_globs_freeze_the_norms_that_they_freeze_whole() -> None:
    backbone = MobileNetV2()
    names = freeze(backbone, ["features.0", "body.features.1.*"])
    assert names
    assert all(n.startswith(("body.features.0.", "body.features.1.")) for n in names)
    moved = changed(backbone, step(backbone))
    assert not any(n.startswith(("body.features.0.", "body.features.1.")) for n in moved)
    assert any(n.startswith("body.features.2.") and n.endswith("running_mean") for n in moved)
    fixed = [m for m in norms(backbone) if not m.training]
    assert len(fixed) == 3


def test_frozen_state_survives_copies_and_modes_and_keeps_keys() -> None:
    backbone = ResNet18()
    keys = list(backbone.state_dict())
    freeze(backbone, ["norm"])
    twin = copy.deepcopy(backbone)
    nn.ModuleDict({"backbone": twin}).train()
    assert all(not m.training for m in norms(twin))
    assert twin.body.get_submodule("layer1").training
    assert list(twin.state_dict()) == keys
    twin.load_state_dict(ResNet18().state_dict())


def test_what_matches_nothing_is_an_error() -> None:
    with pytest.raises(RecipeError) as error:
        freeze(ResNet18(), ["layer9"])
    message = str(error.value)
    assert message.startswith(
        'freeze: "layer9" matches no parameter of ResNet18. Allowed: true, norm, norm_stats, and '
    )
    with pytest.raises(RecipeError) as error:
        freeze(Vgg16(), ["norm"])
    assert str(error.value) == 'freeze: "norm" matches nothing: Vgg16 has no batch norm. Leave the entry out.'


def test_frozen_batch_norm_equals_torchvisions_and_eps_is_a_field() -> None:
    torch.manual_seed(0)
    for eps in (1e-5, 0.0):
        own, reference = FrozenBatchNorm2d(7, eps=eps), torchvision.ops.FrozenBatchNorm2d(7, eps=eps)
        state = {k: torch.rand(7) + 0.5 for k in own.state_dict()}
        own.load_state_dict(state)
        reference.load_state_dict(state)
        x = torch.randn(2, 7, 5, 4, requires_grad=True)
        torch.testing.assert_close(own(x), reference(x))
        torch.testing.assert_close(own(x.detach()), reference(x.detach()))
        (a,) = torch.autograd.grad(own(x).square().sum(), x)
        (b,) = torch.autograd.grad(reference(x).square().sum(), x)
        torch.testing.assert_close(a, b)


def test_a_frozen_batch_norm_keeps_no_map_for_the_backward_pass() -> None:
    kept: list[torch.Size] = []
    x = torch.randn(2, 7, 5, 4, requires_grad=True)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        FrozenBatchNorm2d(7)(x)

    assert x.shape not in kept
    backbone = ResNet18(norm="frozen", norm_eps=0.0)
    found = [m for m in backbone.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(found) == 20
    assert {m.eps for m in found} == {0.0}
    assert freeze(backbone, ["norm"]) == []
