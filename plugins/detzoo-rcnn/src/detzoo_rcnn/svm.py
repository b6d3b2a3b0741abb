"""A linear SVM for each class on vectors of windows."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detzoo.types import FeatureSpecs
from detzoo_rcnn.interfaces import Advance, RegionClassifier
from detzoo_rcnn.mining import Mining, MiningRules, Solver
from detzoo_rcnn.vectors import length_of, mean_norm
from detzoo_rcnn.window_store import WindowStore

Positive = Annotated[float, Field(gt=0)]
Overlap = Annotated[float, Field(ge=0, le=1)]


class LinearSvm(RegionClassifier):
    """Margins of K linear SVMs in one matrix product; fitted by liblinear with hard-negative mining.

    Positives are the ground-truth boxes themselves, although fine-tuning takes windows from IoU 0.5: the network needs
    many examples more than exact ones, while a few exact ones place an SVM best. With ``positive_overlap: 0.5`` the
    paper loses points, and an SVM on ground truth beats the fine-tuned softmax by as many (appendix B).

    Args:
        features: the vectors of the region head.
        num_classes: K.
        feature: the vector that is read.
        penalty: liblinear's C, for the hinge loss; it belongs to vectors of norm ``norm``.
        bias: value of the constant feature whose weight is the bias: large, so that it is hardly penalised.
        positive_weight: factor of C for positives.
        positive_overlap: IoU from which a window is a positive too; null: ground truth alone.
        negative_overlap: windows below this IoU with every object of the class are negatives.
        norm: mean norm to which vectors are scaled.
        hard: margin above which a negative joins the cache.
        evict: margin below which it leaves it.
        retrain_every: new negatives of a class after which its SVM is fitted again.
        passes: how often all windows are mined.
        seed: of liblinear's coordinate descent.

    Source: Girshick et al. 2014 (arXiv:1311.2524), section 2.3 and appendix B; rcnn ``rcnn_train.m`` (liblinear type 3,
    C 1e-3, bias 10, weight 2, one pass, 2,000, -1.0001, -1.2). Difference: all classes are mined in one pass together.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        feature: str = "fc7",
        penalty: Positive = 1e-3,
        bias: Positive = 10.0,
        positive_weight: Positive = 2.0,
        positive_overlap: Overlap | None = None,
        negative_overlap: Overlap = 0.3,
        norm: Positive = 20.0,
        hard: float = -1.0001,
        evict: float = -1.2,
        retrain_every: Annotated[int, Field(ge=1)] = 2000,
        passes: Annotated[int, Field(ge=1)] = 1,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.feature, self.norm = feature, norm
        self.solver = Solver(penalty=penalty, bias=bias, positive_weight=positive_weight, seed=seed)
        self.rules = MiningRules(
            positive_overlap=positive_overlap,
            negative_overlap=negative_overlap,
            hard=hard,
            evict=evict,
            retrain_every=retrain_every,
            passes=passes,
        )
        length = length_of(features, feature)
        self.weight: Tensor
        self.bias: Tensor
        self.done: Tensor
        self.register_buffer("weight", torch.zeros(num_classes, length))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("done", torch.zeros((), dtype=torch.bool))

    def forward(self, vectors: Tensor) -> Tensor:
        """Margins float32 [R,K] of vectors [R,D]."""
        return vectors.float() @ self.weight.T + self.bias

    @property
    def fitted(self) -> bool:
        """Whether there are SVMs."""
        return bool(self.done)

    @property
    def passes(self) -> int:
        """How often ``fit`` reads the windows."""
        return self.rules.passes

    def fit(self, windows: WindowStore, advance: Advance) -> dict[str, float]:
        """Mine and fit; goes on where it was killed, from a small file next to the vectors."""
        scale = self.norm / mean_norm(windows, self.feature)
        mining = Mining(
            windows, self.feature, scale=scale, classes=len(self.bias), rules=self.rules, solver=self.solver
        )
        numbers = mining.run(advance)
        # the scale of the vectors is folded in
        self.weight.copy_(torch.from_numpy(mining.weight * scale))
        self.bias.copy_(torch.from_numpy(mining.bias))
        self.done.fill_(True)
        return numbers
