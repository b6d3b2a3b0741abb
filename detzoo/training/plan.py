"""The training plan of a recipe: plain values, one frozen dataclass inside another.

Every choice on which papers and ports differ (what is decayed, whether biases learn twice as fast, what a milestone
counts) is a field here, so that a recipe says it instead of the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from detzoo.errors import RecipeError
from detzoo.interfaces import Transform
from detzoo.prediction.targets import Treatment
from detzoo.training.options import LARGEST_SEED


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Which optimiser, with which values, for which parameters.

    Args:
        name: the algorithm; ``rmsprop`` is PyTorch's (``alpha`` is TensorFlow's ``decay``).
        lr: learning rate at ``TrainPlan.batch`` images per step; scaled linearly to the batch that is really used.
        momentum: of sgd and rmsprop.
        nesterov: Nesterov's momentum, sgd only.
        betas: of adamw.
        alpha: smoothing of rmsprop.
        eps: of adamw and rmsprop.
        weight_decay: L2 penalty (sgd, rmsprop) or decoupled decay (adamw).
        decay: ``filters`` decays tensors of two or more dimensions: no biases, no norms; ``all`` decays everything.
        bias_lr_multiplier: Caffe trains the biases of convolutions and linear layers at 2x; norms are not meant.
        groups: parameter glob -> multiplier of the learning rate; of several globs that match, the last one counts.
    """

    name: Literal["sgd", "adamw", "rmsprop"] = "sgd"
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.99
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay: Literal["all", "filters"] = "filters"
    bias_lr_multiplier: Annotated[float, Field(ge=0)] = 1.0
    groups: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves: a factor of step ``t`` out of ``T``, multiplied by the warm-up's.

    Args:
        name: ``step`` (drops at milestones), ``cosine``, ``one_cycle`` (PyTorch's OneCycleLR with cosine arms and no
            momentum cycle; its own rise replaces the warm-up), ``poly``, ``constant``.
        milestones: of ``step``, ascending.
        unit: what milestones count: fractions of the run, steps (at the reference batch) or epochs. A run that is made
            longer or shorter moves them along.
        gamma: factor at every milestone.
        factors: one factor per milestone, in place of ``gamma``.
        power: of ``poly``.
        rise: fraction of the run in which ``one_cycle`` rises.
        start_factor: where ``one_cycle`` starts.
        final_factor: where ``cosine``, ``poly`` and ``one_cycle`` end.
        hold: part of the run at its start that ``cosine`` spends at the full rate (RTMDet: half of it).
        plateau: part of the run at its end that ``cosine`` spends at ``final_factor`` (YOLOX: 15 of 300 epochs).
        warmup_steps: steps of warm-up; at most a fifth of the run.
        warmup_factor: where the warm-up starts.
        warmup_power: 1 is linear; darknet's burn-in is 4, from 0.
    """

    name: Literal["step", "cosine", "one_cycle", "constant", "poly"] = "step"
    milestones: tuple[Annotated[float, Field(gt=0)], ...] = ()
    unit: Literal["fraction", "step", "epoch"] = "fraction"
    gamma: Annotated[float, Field(gt=0)] = 0.1
    factors: tuple[Annotated[float, Field(gt=0)], ...] = ()
    power: Annotated[float, Field(gt=0)] = 0.9
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start_factor: Annotated[float, Field(gt=0, le=1)] = 0.04
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    hold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    plateau: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_factor: Annotated[float, Field(ge=0, le=1)] = 0.001
    warmup_power: Annotated[float, Field(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise RecipeError(f"milestones must ascend, found {list(self.milestones)}")
        if self.unit == "fraction" and any(m >= 1 for m in self.milestones):
            raise RecipeError(
                f"milestones are fractions of the run and stay below 1, found {list(self.milestones)}; "
                "for steps or epochs write unit: step or unit: epoch"
            )
        if self.hold + self.plateau >= 1:
            raise RecipeError(
                f"hold {self.hold:g} and plateau {self.plateau:g} are parts of the run between which the rate falls; "
                "their sum must stay below 1"
            )
        if self.factors and len(self.factors) != len(self.milestones):
            raise RecipeError(
                f"factors has {len(self.factors)} values for {len(self.milestones)} milestones; "
                "give one per milestone, or leave it out and set gamma"
            )


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """Another input size every few batches, in place of the recipe's one; evaluation keeps that.

    Args:
        shortest: network px of the short side, smallest.
        longest: network px of the short side, largest.
        multiple: both sides are multiples of it; the network's coarsest stride. The ratio of the sides stays.
        every: batches with one size.

    Source: YOLO9000, section 2, "Multi-Scale Training": 320 to 608 in steps of 32, every 10 batches.
    """

    shortest: Annotated[int, Field(ge=1)] = 320
    longest: Annotated[int, Field(ge=1)] = 608
    multiple: Annotated[int, Field(ge=1)] = 32
    every: Annotated[int, Field(ge=1)] = 10

    def __post_init__(self) -> None:
        if not self.shortest <= self.longest or self.shortest % self.multiple or self.longest % self.multiple:
            raise RecipeError(
                f"multi_scale goes from shortest to longest by multiple, found {self.shortest}, {self.longest} "
                f"and {self.multiple}; both must be multiples of it"
            )

    def size(self, base: tuple[int, int], draw: float) -> tuple[int, int]:
        """(height, width) for a number in [0,1).

        Args:
            base: the recipe's (height, width), for their ratio.
            draw: chooses among the steps, evenly.
        """
        steps = (self.longest - self.shortest) // self.multiple + 1
        short = self.shortest + int(draw * steps) * self.multiple
        # the ratio is kept
        height, width = (round(side / min(base) * short / self.multiple) * self.multiple for side in base)
        return height, width


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """How a detector is trained. Give ``epochs`` or ``steps``, not both.

    Args:
        epochs: passes over the data.
        steps: optimiser steps at the reference batch; with another batch the number of images stays, not of steps.
        batch: reference batch of ``optimizer.lr``, and the images of one step unless the run says otherwise.
        optimizer: algorithm and learning rates.
        schedule: how the learning rate moves.
        transforms: augmentations, in order.
        multi_scale: other input sizes while training, or None.
        clip_norm: largest norm of the whole gradient, or None.
        ema: decay of the moving average of the weights, or None.
        norm_stats: what batch norms normalise by: the ``batch``, or their ``stored`` statistics, which then stay as
            they are; for very small batches, and for weights whose norms were folded.
        accumulate: parts into which a step's images are cut. Each part is normalised by itself, as Caffe's iter_size.
        difficult: what becomes of boxes that the dataset calls difficult.
        crowd: what becomes of boxes around crowds.
        empty_images: whether images without objects are trained on.
        eval_every: epochs between evaluations.
        patience: stop after this many evaluations without a better AP, or None.
        seed: of the order of images, the augmentations and everything random in training.
    """

    name: ClassVar[str] = "train"
    kind: ClassVar[str] = "settings"
    epochs: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)]
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Schedule)
    transforms: list[Transform] = field(default_factory=list)
    multi_scale: MultiScale | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    norm_stats: Literal["batch", "stored"] = "batch"
    accumulate: Annotated[int, Field(ge=1)] = 1
    difficult: Treatment = "ignore"
    crowd: Treatment = "ignore"
    empty_images: Literal["keep", "drop"] = "keep"
    eval_every: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise RecipeError(
                f"give either epochs or steps (the other null), found epochs: {self.epochs}, steps: {self.steps}"
            )
