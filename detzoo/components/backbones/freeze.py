"""Freezing: parameters that are not trained, and batch norms that do not learn statistics.

A batch norm whose parameters are all frozen but which still updates its running statistics in training mode is not
frozen: that is the most common regression of training with small batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Final, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d as _TorchvisionFrozen

from detzoo.errors import RecipeError
from detzoo.runtime.near_names import near_names

Norm: TypeAlias = Literal["batch", "frozen"]
"""``batch``: BatchNorm2d. ``frozen``: statistics and affine part are constants of the checkpoint."""

NORM: Final = "norm"
NORM_STATS: Final = "norm_stats"


class FrozenBatchNorm2d(_TorchvisionFrozen):  # type: ignore[misc]
    """Batch norm whose statistics and affine part are buffers.

    Source: torchvision.ops.FrozenBatchNorm2d. Same keys and the same result to rounding; this one calls a fused
    kernel in place of a chain of elementwise operations.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, float [B,C,h,w]."""
        if x.requires_grad and torch.is_grad_enabled() and x.dtype == self.weight.dtype:
            # batch norm would keep its input for a backward pass that has no use for it
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            shift = self.bias - self.running_mean * scale
            return torch.addcmul(shift[:, None, None], x, scale[:, None, None])
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def norm_factory(norm: Norm, *, eps: float, momentum: float) -> Callable[..., nn.Module]:
    """What torchvision's builders take as ``norm_layer``."""
    if norm == "frozen":
        return partial(FrozenBatchNorm2d, eps=eps)
    return partial(nn.BatchNorm2d, eps=eps, momentum=momentum)


def freeze(module: nn.Module, what: bool | Sequence[str]) -> list[str]:
    """Stop parts of ``module`` from learning.

    Args:
        module: usually a backbone.
        what: True for all of it; or a list of
            - globs of parameter names, as in the state dict (``body.features.0.*``; the leading ``body.`` may be left
              out). A glob that names a module means everything in it.
            - ``norm``: every batch norm, statistics and affine part.
            - ``norm_stats``: the statistics of every batch norm; scale and shift still learn.

    Returns:
        names of the parameters that no longer learn.

    Raises:
        RecipeError: an entry matches nothing.
    """
    if what is False:  # before the loop: False is no sequence
        return []
    if isinstance(what, str):
        what = (what,)
    frozen: set[str] = set()
    for entry in ("*",) if what is True else what:
        if entry in (NORM, NORM_STATS):
            frozen |= _freeze_norms(module, affine=entry == NORM)
        else:
            frozen |= _matching(module, entry)
    for name, parameter in module.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    for norm in _batch_norms(module):
        parameters = list(norm.parameters())
        # a norm that cannot learn must not drift by its running statistics either
        if (parameters and not any(p.requires_grad for p in parameters)) or (not parameters and what is True):
            _fix_statistics(norm)
    return [name for name, _ in module.named_parameters() if name in frozen]


class _FixedStatistics(nn.Module):
    """Mixed into a batch norm: it stays in evaluation mode, whatever mode its parents are in."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)  # the trainer's detector.train() must not wake it


_FIXED: dict[type[_BatchNorm], type[_BatchNorm]] = {}  # one class per kind of norm, not one per module


def _fixed(cls: type[_BatchNorm]) -> type[_BatchNorm]:
    if cls not in _FIXED:
        _FIXED[cls] = type(f"Fixed{cls.__name__}", (_FixedStatistics, cls), {"__module__": __name__})
    return _FIXED[cls]


def _fix_statistics(norm: _BatchNorm) -> None:
    """Change the class in place, as torch's lazy modules do: parameters, keys and references stay what they are."""
    if not isinstance(norm, _FixedStatistics):
        norm.__class__ = _fixed(type(norm))
    norm.eval()


def _batch_norms(module: nn.Module) -> Iterable[_BatchNorm]:
    return (m for m in module.modules() if isinstance(m, _BatchNorm))


def _freeze_norms(module: nn.Module, *, affine: bool) -> set[str]:
    norms = list(_batch_norms(module))
    if not norms and not any(isinstance(m, _TorchvisionFrozen) for m in module.modules()):
        entry = NORM if affine else NORM_STATS
        raise RecipeError(
            f'freeze: "{entry}" matches nothing: {type(module).__name__} has no batch norm. Leave the entry out.'
        )
    for norm in norms:
        _fix_statistics(norm)
    ids = {id(p) for norm in norms for p in norm.parameters()} if affine else set()
    return {name for name, p in module.named_parameters() if id(p) in ids}


def _matching(module: nn.Module, glob: str) -> set[str]:
    names = [name for name, _ in module.named_parameters()]
    patterns = (glob, f"{glob}.*", f"body.{glob}", f"body.{glob}.*")
    found = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    if not found and glob != "*":
        near = near_names(glob, [*names, *(n.removeprefix("body.") for n in names)], likeness=0.4)
        raise RecipeError(
            f'freeze: "{glob}" matches no parameter of {type(module).__name__}. '
            f"Allowed: true, norm, norm_stats, and globs of parameter names such as {', '.join(near or names[:3])}"
        )
    return found
