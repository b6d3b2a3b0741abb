"""From a recipe's optimiser settings to parameter groups: who learns how fast, and who decays."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from detzoo.errors import TrainingError
from detzoo.runtime.near_names import near_names
from detzoo.training.plan import Optimizer

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def trainable(module: nn.Module, globs: Iterable[str]) -> list[str]:
    """Names of the parameters that a stage trains: those that match a glob and that the recipe has not frozen.

    Raises:
        TrainingError: nothing is left to train.
    """
    globs = tuple(globs)
    names = [n for n, p in module.named_parameters() if p.requires_grad and any(fnmatchcase(n, g) for g in globs)]
    if not names:
        raise TrainingError(
            f"nothing to train: of {sum(1 for _ in module.parameters())} parameters none matches {', '.join(globs)} "
            "and is left unfrozen; look at backbone.freeze and at the stage's globs"
        )
    return names


def parameter_groups(
    module: nn.Module, settings: Optimizer, names: Iterable[str], *, lr: float
) -> list[dict[str, Any]]:
    """One group for each pair of learning rate and weight decay, in the order in which parameters appear.

    Args:
        module: the detector.
        settings: the recipe's.
        names: parameters to train.
        lr: base learning rate, already scaled to the real batch.

    Returns:
        groups with ``label``, ``params``, ``names``, ``lr``, ``base_lr`` and ``weight_decay``.

    Raises:
        TrainingError: a glob of ``settings.groups`` matches no parameter.
    """
    parameters = dict(module.named_parameters())
    _check_globs(settings, list(parameters))
    norms = {f"{prefix}." for prefix, child in module.named_modules() if isinstance(child, _NORMS)}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name in names:
        rate = lr * _multiplier(name, settings, norms)
        decays = settings.decay == "all" or parameters[name].dim() >= 2  # biases and norms have one dimension
        decay = settings.weight_decay if decays else 0.0
        # names: state is saved by them
        new = {"label": "", "params": [], "names": [], "lr": rate, "base_lr": rate, "weight_decay": decay}
        group = groups.setdefault((rate, decay), new)  # few groups: foreach kernels work on one at a time
        group["params"].append(parameters[name])
        group["names"].append(name)
        label = _glob_of(name, settings) or "others"
        if label not in group["label"].split(", "):
            group["label"] = f"{group['label']}, {label}".removeprefix(", ")
    for group in groups.values():
        group["label"] += f" x{group['base_lr'] / lr:g}, weight decay {group['weight_decay']:g}"
    return list(groups.values())


def _glob_of(name: str, settings: Optimizer) -> str | None:
    """The glob whose multiplier a parameter has: the last that matches."""
    return next((glob for glob in reversed(settings.groups) if fnmatchcase(name, glob)), None)


def _multiplier(name: str, settings: Optimizer, norms: set[str]) -> float:
    parent, _, leaf = name.rpartition(".")
    is_bias = leaf == "bias" and f"{parent}." not in norms
    glob = _glob_of(name, settings)
    return (settings.bias_lr_multiplier if is_bias else 1.0) * (1.0 if glob is None else settings.groups[glob])


def _check_globs(settings: Optimizer, names: list[str]) -> None:
    for glob in settings.groups:
        if not any(fnmatchcase(name, glob) for name in names):
            stems = sorted({".".join(n.split(".")[: glob.count(".") or 1]) for n in names})
            near = near_names(glob.rstrip(".*"), stems, likeness=0.4) or stems[:5]
            raise TrainingError(
                f"train.optimizer.groups: {glob!r} matches no parameter; the nearest are "
                + ", ".join(f"{stem}.*" for stem in near)
            )


def build_optimizer(groups: list[dict[str, Any]], settings: Optimizer) -> torch.optim.Optimizer:
    """The optimiser over ``parameter_groups``."""
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, eps=settings.eps)
    if settings.name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=settings.alpha, eps=settings.eps, momentum=settings.momentum)
    return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov and settings.momentum > 0)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every group's own base learning rate by the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State by parameter name: ``backbone.conv.weight/momentum_buffer`` -> tensor. Scalars become 0-d tensors."""
    found: dict[str, torch.Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    found[f"{name}/{key}"] = value if isinstance(value, torch.Tensor) else torch.tensor(value)
    return found


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], *, stepped: bool = False
) -> None:
    """The reverse of ``optimizer_tensors``.

    Args:
        optimizer: of the same parameters.
        tensors: its state by name.
        stepped: it has made steps, so that there must be some, where it keeps any.

    Raises:
        TrainingError: the tensors are of other parameters, no state of these, or some are missing.
    """
    parameters = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    optimizer.state.clear()
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        if name not in parameters:
            raise TrainingError(f"the checkpoint holds optimiser state of {name}, which this run does not train")
        parameter = parameters[name]
        if not value.is_floating_point() or (value.numel() > 1 and value.shape != parameter.shape):
            kind = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            raise TrainingError(
                f"the checkpoint's optimiser state {path} is {kind}, of a parameter {tuple(parameter.shape)}"
            )
        # Adam's step counter stays where it was made: moving it to the GPU would slow every step
        target = value if value.dim() == 0 else value.to(parameter.device, parameter.dtype)
        optimizer.state[parameter][key] = target.clone()  # a clone: the optimiser changes it in place
    _check_whole(optimizer, stepped=stepped)


def _check_whole(optimizer: torch.optim.Optimizer, *, stepped: bool) -> None:
    kept = [set(state) for state in optimizer.state.values()]
    keeps_none = isinstance(optimizer, torch.optim.SGD) and not any(
        group["momentum"] for group in optimizer.param_groups
    )
    if stepped and not kept and not keeps_none:
        raise TrainingError("the optimiser's state is missing from the checkpoint")
    if any(names != set().union(*kept) for names in kept):
        raise TrainingError("a part of the optimiser's state is missing from the checkpoint")
