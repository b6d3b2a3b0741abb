"""Truncated SVD of fully connected layers: two thin layers in place of a wide one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from detzoo.errors import RecipeError, WeightsError


class LowRank(nn.Module):
    """y = expand(project(x)): a linear layer whose matrix has at most rank ``rank``.

    It costs rank (inputs + outputs) multiplications in place of inputs x outputs.

    Args:
        inputs: features in.
        outputs: features out.
        rank: at most the smaller of both.

    Raises:
        RecipeError: a rank that the layer cannot have.

    Source: Fast R-CNN (arXiv:1504.08083), section 3.1: W = U S V^T; the first layer is S V^T without bias, the second
    U with the bias; fast-rcnn tools/compress_net.py.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        if rank > min(inputs, outputs):
            raise RecipeError(
                f"fc_ranks: rank {rank} exceeds {min(inputs, outputs)}, the rank of a layer of {inputs} inputs and "
                f"{outputs} outputs; write null to leave this layer whole"
            )
        self.project = nn.Linear(inputs, rank, bias=False)
        self.expand = nn.Linear(rank, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[R,inputs] -> [R,outputs]."""
        y: Tensor = self.expand(self.project(x))
        return y


def linear(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """A fully connected layer, whole or of low rank."""
    return nn.Linear(inputs, outputs) if rank is None else LowRank(inputs, outputs, rank)


def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of a matrix by one of a rank (Eckart and Young), as a product.

    Args:
        weight: float [outputs,inputs].
        rank: t, at most the smaller side.

    Returns:
        project [t,inputs] = S_t V_t^T and expand [outputs,t] = U_t, so that expand @ project is near ``weight``.
    """
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    return (s[:rank, None] * vt[:rank]).contiguous(), u[:, :rank].contiguous()  # safetensors stores no views


def compressed(state_dict: Mapping[str, Tensor], detector: nn.Module) -> dict[str, Tensor]:
    """Weights of a detector with whole layers, for the same detector with layers of low rank.

    Args:
        state_dict: of the detector whose ``fc_ranks`` is null.
        detector: built with ``fc_ranks``.

    Returns:
        the state dict with ``project`` and ``expand`` in place of each layer's ``weight`` and ``bias``.

    Raises:
        WeightsError: the detector has no layer of low rank, or the weights none to make it of.
    """
    state = dict(state_dict)
    layers = {name: module for name, module in detector.named_modules() if isinstance(module, LowRank)}
    if not layers:
        raise WeightsError(
            "source svd compresses fully connected layers, and this detector has none of low rank: build it with "
            "box.head.fc_ranks, as [1024, 256]"
        )
    for name, layer in layers.items():
        if f"{name}.project.weight" in state:
            continue  # compressed before
        try:
            weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
        except KeyError as missing:
            raise WeightsError(
                f"source svd takes the weights of the same detector with fc_ranks: null; {missing} is not among them"
            ) from None
        project, expand = factors(weight.float(), layer.project.out_features)  # no SVD in half precision
        state |= {
            f"{name}.project.weight": project.to(weight.dtype),
            f"{name}.expand.weight": expand.to(weight.dtype),
            f"{name}.expand.bias": bias,
        }
    return state
