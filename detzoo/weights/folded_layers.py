"""Convolutions whose batch norms were folded into them, put back into a network that keeps the norms apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.fold_batch_norm import conv_norm_pairs
from detzoo.types import ImageBatch

PROBE = 64
"""Side in px of the image with which the order of layers is found."""


def unfold_layers(
    layers: Sequence[dict[str, Tensor]],
    detector: Detector,
    *,
    convert: Callable[[str, Tensor], Tensor] = lambda name, value: value,
) -> dict[str, Tensor]:
    """Weights and norms of a network's convolutions, in the order in which it runs them.

    A folded norm becomes one that only adds the bias: mean 0, variance 1, a scale that undoes its eps. Such norms
    compute with their stored statistics what the folded layer computed; with those of a batch they would not, so
    training goes on from them with ``train.norm_stats: stored``.

    Args:
        layers: ``weight`` and ``bias`` of each convolution, in the order in which the file's graph runs them.
        detector: whose convolutions with a norm behind them are meant, in the same order.
        convert: another layout of a weight, given the name of our own.

    Returns:
        tensors by the detector's names; empty where there are no layers.

    Raises:
        WeightsError: another number of convolutions, another shape, or a layer without bias.
    """
    if not layers:
        return {}
    pairs = _normed_convolutions(detector)
    if len(pairs) != len(layers):
        raise WeightsError(
            f"the file has {len(layers)} convolutions with folded norms, {detector.name} has {len(pairs)}; is it the "
            "same architecture?"
        )
    found: dict[str, Tensor] = {}
    for (conv, norm), layer in zip(pairs, layers, strict=True):
        own = detector.get_parameter(f"{conv}.weight").shape
        weight = convert(f"{conv}.weight", layer["weight"])
        if weight.shape != own or "bias" not in layer:
            raise WeightsError(
                f"{conv}: the file's layer at this place has weights {list(weight.shape)}"
                f"{'' if 'bias' in layer else ' and no bias'}, expected {list(own)} and a bias"
            )
        found |= {f"{conv}.weight": weight} | _norm(norm, layer["bias"], detector)
    return found


def _norm(name: str, bias: Tensor, detector: Detector) -> dict[str, Tensor]:
    eps = detector.get_submodule(name).eps
    assert isinstance(eps, float)
    one = torch.ones_like(bias)
    return {
        f"{name}.weight": one * (1 + eps) ** 0.5,
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": one,
    }


def _normed_convolutions(detector: Detector) -> list[tuple[str, str]]:
    """Names of each convolution and of the batch norm behind it, in the order in which they run."""
    names = {module: name for name, module in detector.named_modules()}
    training = detector.training
    try:
        with torch.no_grad():
            pairs = conv_norm_pairs(detector.eval(), _probe())
    finally:
        detector.train(training)
    return [(names[conv], names[norm]) for conv, norm in pairs]


def _probe() -> ImageBatch:
    size = torch.tensor([[PROBE, PROBE]])
    region = torch.tensor([[0.0, 0.0, PROBE, PROBE]])
    return ImageBatch(
        torch.zeros(1, 3, PROBE, PROBE), region, size, torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)
    )
