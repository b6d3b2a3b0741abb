"""How SSD's new layers start."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import nn

Init: TypeAlias = Literal["xavier", "normal"]
Scoring: TypeAlias = Literal["softmax", "sigmoid"]


def initialise(module: nn.Module, how: Init, std: float = 0.03) -> None:
    """Set the convolutions of ``module``; biases become 0.

    Args:
        module: whose convolutions are set, in place.
        how: ``xavier``: uniform, as Caffe's released training code; ``normal``: SSDLite and RetinaNet.
        std: of ``normal``: SSDLite's 0.03, RetinaNet's 0.01.

    Source: weiliu89/caffe ssd_pascal.py; torchvision's ssd.py and ssdlite.py.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if how == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.normal_(layer.weight, mean=0.0, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def start_scores(predictor: nn.Conv2d, columns: int, scoring: Scoring, probability: float) -> None:
    """Set the bias of a class predictor so that untrained scores are about ``probability``.

    Args:
        predictor: its outputs are ``columns`` for each prior.
        columns: classes, with ``softmax`` background first.
        scoring: with ``sigmoid`` each class starts there, with ``softmax`` all of them together.
        probability: the pi of focal loss.

    Source: Lin et al. 2017 (arXiv:1708.02002), section 3.3.
    """
    # all classes together make the probability
    share = probability / (columns - 1) if scoring == "softmax" else probability
    assert predictor.bias is not None
    rows = predictor.bias.view(-1, columns)  # [priors,columns], a view: the bias itself is filled
    rows.fill_(math.log(share / (1 - probability)))
    if scoring == "softmax":
        rows[:, 0] = 0.0  # softmax: background's logit is the zero that the others are measured from
