"""4-step alternating training: the two halves of a two-stage detector learn in turn and end as one network.

1. The regions: backbone, neck and proposals, from the pretrained weights.
2. The boxes: from the pretrained weights again, on the regions of step 1. Two networks so far; they share nothing.
3. The regions of the second network: its backbone and neck are shared from here on and stay as they are, to the bit.
4. The boxes again, on the regions of step 3, with the same backbone and neck.

Further rounds repeat steps 3 and 4. Masks learn together with the boxes.

Source: Ren et al. 2015 (arXiv:1506.01497), section 3.2; py-faster-rcnn ``tools/train_faster_rcnn_alt_opt.py``, where
step 3 starts with an untrained RPN and step 4 with the box head of step 2, as here. There the regions of steps 1 and 3
are written to files before steps 2 and 4; here the network that proposes is kept and runs along, so that they belong to
the pixels that the second half sees, whatever the augmentation. There box targets are normalised by statistics of these
regions; here by fixed numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.detectors.measuring import MeasuresTargets
from detzoo.errors import RecipeError
from detzoo.interfaces import GradientStage, Proposals, RoiHead, Stage, StageContext
from detzoo.interfaces.stages import Objective
from detzoo.types import Candidates, ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.detectors.two_stage import TwoStage

SHARED: Final = ("backbone.*", "neck.*")
FIRST_HALF: Final = ("proposals.*",)
SECOND_HALF: Final = ("box.*", "refinements.*", "mask.*")


@dataclass(frozen=True, kw_only=True)
class StepLength:
    """How long a step of the alternation trains. Give ``epochs`` or ``steps``, not both.

    Args:
        epochs: passes over the data.
        steps: optimiser steps at the reference batch of the training plan.
    """

    epochs: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise RecipeError(
                f"give either epochs or steps (the other null), found epochs: {self.epochs}, steps: {self.steps}"
            )

    def settings(self) -> dict[str, Any]:
        """As settings of a stage."""
        return {"epochs": self.epochs, "steps": self.steps}


@dataclass(frozen=True, kw_only=True)
class Alternation:
    """What a recipe writes below ``alternation:``.

    Args:
        rounds: how often the shared network's halves learn in turn; 1 gives the paper's four steps, each further
            round two more.
        proposals: length of the odd steps; null: as the training plan.
        box: length of the even steps; null: as the training plan.
    """

    rounds: Annotated[int, Field(ge=1)] = 1
    proposals: StepLength | None = None
    box: StepLength | None = None


def check_alternation(proposals: Proposals, head: RoiHead) -> None:
    """Reject what cannot take turns.

    Raises:
        RecipeError: the proposals have no weights, or the box coder wants to be measured on regions that are there
            before training.
    """
    if isinstance(head.coder, MeasuresTargets):  # py-faster-rcnn measures on the regions of step 1, in a file
        raise RecipeError(
            f"alternation: the box coder {type(head.coder).__name__} is measured before training, when there are no "
            "regions yet; write box_coder: {type: centre_size, variances: [0.1, 0.1, 0.2, 0.2]}"
        )
    if not any(True for _ in proposals.parameters()):
        raise RecipeError(
            f"alternation: {type(proposals).__name__} learns nothing, so there is nothing to alternate with; "
            "write alternation: null, or proposals that learn, such as {type: rpn}"
        )


def alternating_stages(detector: TwoStage, alternation: Alternation) -> list[Stage]:
    """Steps 1 to 4, and two more for each further round."""
    odd = {} if alternation.proposals is None else alternation.proposals.settings()
    even = {} if alternation.box is None else alternation.box.settings()
    halves = FirstHalf(detector), SecondHalf(detector)
    stages: list[Stage] = [
        # after these two the parts of the detector have not yet met
        GradientStage(name="1-proposals", train=(*SHARED, *FIRST_HALF), losses=halves[0], settings=odd, evaluate=False),
        GradientStage(
            name="2-box",
            train=(*SHARED, *SECOND_HALF),
            start_from="weights",  # the pretrained ones: the paper's step 2 shares nothing with step 1
            prepare=halves[1].on_regions_of("1-proposals"),  # by then the detector itself holds other weights
            settings=even,
            evaluate=False,
        ),
    ]
    for step in range(3, 3 + 2 * alternation.rounds, 2):
        stages += [
            # shared parts stay frozen
            GradientStage(name=f"{step}-proposals", train=FIRST_HALF, losses=halves[0], settings=odd),
            GradientStage(name=f"{step + 1}-box", train=SECOND_HALF, losses=halves[1], settings=even),
        ]
    return stages


class FirstHalf:
    """The losses of the regions alone.

    Args:
        detector: whose.
    """

    def __init__(self, detector: TwoStage) -> None:
        self.detector = detector

    def __call__(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Terms of the proposals."""
        # [1]: the regions are not needed here
        return self.detector.proposals.losses(self.detector.features(batch), batch, targets)[1]


class SecondHalf:
    """The losses of boxes and masks on regions that are given.

    Args:
        detector: whose.
        teacher: another network that proposes; None for the detector's own.
    """

    def __init__(self, detector: TwoStage, teacher: Proposing | None = None) -> None:
        self.detector, self.teacher = detector, teacher

    def __call__(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Terms ``box.*`` and ``mask.*``."""
        detector, teacher = self.detector, self.teacher
        features = detector.features(batch)
        with torch.no_grad():  # the first half does not learn here
            if teacher is not None:
                rois = teacher(batch, targets)
            else:
                rois, _ = detector.proposals.losses(features, batch, targets)
        return detector.region_losses(features, batch, targets, rois)

    def on_regions_of(self, stage: str) -> Callable[[StageContext], Objective]:
        """The same on the regions of the network with which a stage of the run ended."""
        return lambda context: SecondHalf(self.detector, Proposing(self.detector, context.weights_after(stage)))


class Proposing(nn.Module):
    """A frozen copy of everything that makes regions, with other weights.

    Args:
        detector: whose parts are copied.
        weights: state dict of the same detector.
    """

    def __init__(self, detector: TwoStage, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        parts = {"backbone": detector.backbone, "neck": detector.neck, "proposals": detector.proposals}
        self.parts = nn.ModuleDict(copy.deepcopy(parts))
        # box weights are left out
        self.parts.load_state_dict({name: weights[name] for name in self.parts.state_dict()})
        self.requires_grad_(False)
        self.eval()  # batch norm must not follow the batches of step 2

    def forward(self, batch: ImageBatch, targets: Targets) -> Candidates:
        """The regions [B,P] that this network would train on."""
        features = self.parts["neck"](self.parts["backbone"](batch.pixels))
        proposals = self.parts["proposals"]
        assert isinstance(proposals, Proposals)
        rois, _ = proposals.losses(features, batch, targets)  # losses, not forward: as many regions as in training
        return rois
