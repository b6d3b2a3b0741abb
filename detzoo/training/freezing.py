"""What a stage does not train stays as it is, to the bit: weights, and the statistics of batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Final

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_MOST: Final = 6  # names in a message


@contextmanager
def training_only(
    module: nn.Module, names: Iterable[str], globs: Iterable[str], *, stored_norms: bool = False
) -> Iterator[list[nn.Parameter]]:
    """The module in training mode, all but the parts that a stage leaves alone.

    Within the block parameters outside ``names`` need no gradient, and batch norms with no parameter among them use
    their running statistics instead of moving them. Both come back afterwards. Gradients that are zero would not be
    enough: statistics move without any, and step 3 of Faster R-CNN's training would no longer share the
    convolutions of step 2.

    Args:
        module: the detector.
        names: parameters that the stage trains.
        globs: the stage's own, which decide about batch norms without parameters.
        stored_norms: whether all batch norms use their running statistics.

    Returns:
        the parameters that are frozen within the block.
    """
    trained, globs = set(names), tuple(globs)
    frozen = [p for name, p in module.named_parameters() if p.requires_grad and name not in trained]
    still = [
        part
        for name, part in module.named_modules()
        if _stands_still(name, part, trained, globs) or (stored_norms and isinstance(part, _NormBase))
    ]
    for parameter in frozen:
        parameter.requires_grad_(False)  # DDP and autograd skip them
    module.train()
    paused = [norm for norm in still if norm.training]  # those that a recipe has frozen never are
    for norm in paused:
        norm.eval()
    try:
        yield frozen
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        for norm in paused:
            norm.train()


def untrained(module: nn.Module) -> str:
    """A warning that names the parameters that no gradient has reached; empty where it reached all.

    Args:
        module: after a backward pass, before its gradients are cleared.
    """
    names = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if not names:
        return ""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return (
        f"warning: no gradient reaches {', '.join(names[:_MOST])}{more}: nothing in the loss reads them, and they "
        "stay as they started; exchange the loss, or leave them out of the score (postprocess.quality: ignore)"
    )


def _stands_still(name: str, part: nn.Module, trained: set[str], globs: tuple[str, ...]) -> bool:
    if not isinstance(part, _NormBase):
        return False
    own = [f"{name}.{leaf}" for leaf, _ in part.named_parameters(recurse=False)]
    if own:
        return trained.isdisjoint(own)  # a norm that learns nothing must not move its statistics either
    return not any(fnmatchcase(f"{name}.running_mean", glob) for glob in globs)
