"""Batch-norm folding: a convolution followed by a fixed affine map is one convolution.

Which batch norm or activation follows which convolution is observed on one forward pass, not guessed from names, so
that it works for any architecture; what is shared, called twice or followed by something else is left alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detzoo.errors import DetzooError
from detzoo.ops.reparameterised import Reparameterised
from detzoo.prediction.fused_convolutions import can_be_fused, fuse, is_activation, supported
from detzoo.types import DetectionBatch, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from detzoo.interfaces import Detector

Pair: TypeAlias = tuple[nn.Conv2d, nn.Module]
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "eps")


def is_norm(module: nn.Module) -> bool:
    """Whether it is a batch norm, live or frozen, whoever wrote it."""
    return isinstance(module, nn.BatchNorm2d) or all(hasattr(module, name) for name in _STATISTICS)


def fold_batch_norm(detector: Detector, batch: ImageBatch) -> int:
    """Fold batch norms into the convolutions before them, and branches into one, in place; for inference only.

    On a CPU activations become part of the convolutions as well (``fused_convolutions``).

    Args:
        detector: in evaluation mode.
        batch: any images, to see the order of calls and to check that the detections stay.

    Returns:
        how many norms went.

    Raises:
        DetzooError: the folded network answers otherwise (nothing useful is left in the detector then).
    """
    with torch.no_grad():
        before = detector.detect(batch)  # kept to compare with: folding must not change a detection
        within = merge_branches(detector)
        pairs = conv_norm_pairs(detector, batch)
        for conv, norm in pairs:
            fold(conv, norm)
        replace(detector, {norm for _, norm in pairs})
        if batch.pixels.device.type == "cpu" and supported():
            followed = conv_pairs(detector, batch, is_activation)
            fuse(detector, {conv: activation for conv, activation in followed if can_be_fused(conv)})
        after = detector.detect(batch)
    difference = largest_difference(before, after)
    if not difference <= 1e-3:  # of scores: far more than rounding does; NaN is no agreement
        raise DetzooError(
            f"batch-norm folding changed a score by {difference:.2g}; this detector cannot be folded: leave the "
            "switch out"
        )
    return within + len(pairs)


def merge_branches(module: nn.Module) -> int:
    """Put what is ``merged`` where ``Reparameterised`` layers are; how many norms went with them."""
    gone = 0
    for name, child in module.named_children():
        if isinstance(child, Reparameterised):
            setattr(module, name, child.merged())
            gone += sum(is_norm(part) for part in child.modules())
        else:
            gone += merge_branches(child)
    return gone


def conv_norm_pairs(detector: Detector, batch: ImageBatch) -> list[Pair]:
    """Convolutions whose output always goes into one batch norm."""
    return conv_pairs(detector, batch, is_norm)


def conv_pairs(detector: Detector, batch: ImageBatch, follows: Callable[[nn.Module], bool]) -> list[Pair]:
    """Convolutions whose output always goes into one module that ``follows`` accepts, and nowhere else.

    Each pair once, in the order of the first calls. Neither takes part in another pair.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # tensors are kept so that their ids stay their own
    overwritten: list[Tensor] = []
    pairs: list[Pair] = []
    calls: Counter[nn.Module] = Counter()
    readers: Counter[nn.Module] = Counter()  # leaf modules that take a convolution's output

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[module] += 1
        for value in inputs:
            if id(value) in made and not isinstance(module, nn.Identity):  # which passes it on
                conv = made[id(value)][0]
                readers[conv] += 1
                if follows(module):
                    pairs.append((conv, module))

    def after(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif id(output) in made and not isinstance(module, nn.Identity):  # changed in place
            overwritten.append(made.pop(id(output))[1])

    handles: list[Any] = []
    for module in detector.modules():
        if not any(module.children()):  # leaves: a container receives its first layer's input too
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        detector.detect(batch)
    finally:
        for handle in handles:
            handle.remove()
    # with another reader, that one would lose the raw map. A shared head runs once per level: one convolution cannot
    # take up several norms, but what follows it at every level it can
    return [
        (conv, other)
        for (conv, other), count in Counter(pairs).items()
        if count == calls[conv] == calls[other] == readers[conv]
    ]


def fold(conv: nn.Conv2d, norm: Any) -> None:
    """Scale and shift of ``norm`` go into ``conv``."""
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def replace(module: nn.Module, gone: set[nn.Module]) -> None:
    """Put an identity where a folded norm was."""
    for name, child in module.named_children():
        if child in gone:
            setattr(module, name, nn.Identity())
        else:
            replace(child, gone)


def largest_difference(a: DetectionBatch, b: DetectionBatch) -> float:
    """Between sorted scores: boxes of equal scores may change places; NaN where scores are no numbers any more."""
    count = max(a.scores.shape[1], b.scores.shape[1])
    if count == 0:
        return 0.0
    # a mask branch cuts what no image has: 0 is no detection
    first, second = (F.pad(one.scores, (0, count - one.scores.shape[1])).sort().values for one in (a, b))
    return float((first - second).abs().max())
