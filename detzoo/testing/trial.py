"""What a whole detector did, once for all checks: a step of training, one without objects, predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from detzoo.prediction.detections import Detections
from detzoo.prediction.image_proposals import propose
from detzoo.testing.specimens import NUM_CLASSES, sample, total
from detzoo.testing.subject import assert_unchanged, snapshot
from detzoo.types import Sample

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

SIZES: Final = ((120, 200), (52, 38))
"""(height, width) px of the images: none is square, the second is smaller than any network's input."""
_TRAINED_ON: Final = ("no box", "a box without area", "mixed boxes")


@dataclass(frozen=True)
class Step:
    """One forward and backward pass.

    Args:
        terms: of the loss, by name.
        cut: names of the terms that do not belong to the graph.
        ungraded: names of trainable parameters that no gradient reached.
        bad_gradients: names of parameters whose gradient was NaN or infinite.
        changed: what was changed in place, or an empty string.
    """

    terms: dict[str, float]
    cut: tuple[str, ...]
    ungraded: tuple[str, ...]
    bad_gradients: tuple[str, ...]
    changed: str


@dataclass(frozen=True)
class Found:
    """Predictions.

    Args:
        together: of two images of one size in one batch.
        alone: of the first of them alone.
        again: of the same once more.
        other: of an image of another size.
        changed: what was changed in place, or an empty string.
        differs: the first mode, parameter or buffer of the detector that is not what it was, or an empty string.
    """

    together: tuple[Detections, ...]
    alone: Detections
    again: Detections
    other: Detections
    changed: str
    differs: str


class Trial:
    """A detector under trial; what a check asks for is done when it is first asked.

    A detector that cannot train is so still tried at predicting, and the other way round.

    Args:
        detector: with three classes, without trained weights.
        rebuild: makes another one.
    """

    def __init__(self, detector: Detector, rebuild: Callable[[], Detector]) -> None:
        self.detector = detector
        self.rebuild = rebuild

    @cached_property
    def step(self) -> Step:
        """Trained a step on images with every kind of ground truth."""
        return self._step(_TRAINED_ON)

    @cached_property
    def step_without_objects(self) -> Step:
        """Trained a step on images without objects."""
        return self._step(("no box", "no box"))

    @cached_property
    def found(self) -> Found:
        """Predicted, in evaluation mode."""
        torch.manual_seed(1)  # a part that samples when predicting must not get the same numbers twice
        self.detector.eval()
        first, other = (sample(size=size, seed=row).image for row, size in enumerate(SIZES))
        mirrored = np.ascontiguousarray(first[:, ::-1])
        was = {name: value.clone() if isinstance(value, Tensor) else value for name, value in _state(self.detector)}
        found, changed = [], ""
        lowest = None if self.detector.settings().score_threshold is None else 0.0
        for images in ([first, mirrored], [first], [first], [other]):
            given = [image.copy() for image in images]
            found.append(tuple(self.detector.predict(given, score_threshold=lowest, channels="rgb")))
            if not all(np.array_equal(old, new) for old, new in zip(images, given, strict=True)):
                changed = "an image changed in place: copy it before writing to it"
        together, (alone,), (again,), (another,) = found
        return Found(together, alone, again, another, changed, _difference(was, dict(_state(self.detector))))

    def _step(self, names: tuple[str, ...]) -> Step:
        from detzoo.prediction.prepare import collate

        detector = self.detector.train()
        detector.zero_grad(set_to_none=True)
        given = collate([sample_for(detector, name, i) for i, name in enumerate(names)], detector.input)
        before = snapshot(given)
        terms = detector(*given)
        assert isinstance(terms, dict), f"forward with targets returns {type(terms).__name__}, not a dict of loss terms"
        cut = tuple(name for name, term in terms.items() if not term.requires_grad)
        if len(cut) < len(terms):
            total(terms).backward()  # type: ignore[no-untyped-call]
        changed = ""
        try:
            assert_unchanged(before, given, "the batch or its targets")
        except AssertionError as error:
            changed = str(error)
        named = [(name, p.grad) for name, p in detector.named_parameters() if p.requires_grad]
        ungraded = tuple(name for name, grad in named if grad is None)
        bad = tuple(name for name, grad in named if grad is not None and not bool(torch.isfinite(grad).all()))
        detector.zero_grad(set_to_none=True)
        return Step({name: float(term.detach()) for name, term in terms.items()}, cut, ungraded, bad, changed)


def trial_of(recipe: str) -> Trial:
    """A recipe of the registry, made quick by what manifests say, built without weights."""
    from detzoo.builder import build_recipe
    from detzoo.recipes.recipe import load_recipe
    from detzoo.recipes.small_values import small_overrides

    torch.manual_seed(0)
    small = load_recipe(recipe, small_overrides(load_recipe(recipe).values))
    detector = build_recipe(small, num_classes=NUM_CLASSES, backbone_weights=False)
    propose_anywhere(detector, 50)
    return Trial(detector, lambda: build_recipe(detector.recipe, backbone_weights=False))


def propose_anywhere(detector: Detector, count: int) -> None:
    """Regions at random in place of a file of them: no file knows the specimens."""
    from detzoo.components.proposals.baselines import Uniform
    from detzoo.components.proposals.precomputed import Precomputed

    if isinstance(detector.proposer, Precomputed):
        detector.proposer = Uniform(count=count)


def sample_for(detector: Detector, name: str, seed: int) -> Sample:
    """A specimen with what the loader gives this detector: masks, image-level regions."""
    made = sample(name, seed=seed, masks=detector.needs_masks)
    if detector.proposer is None:
        return made
    return dataclasses.replace(made, proposals=propose(detector.proposer, made.image))


def _state(detector: Detector) -> Iterator[tuple[str, bool | Tensor]]:
    """Modes, parameters and buffers by name, those too that are not saved."""
    for name, module in detector.named_modules():
        yield f"the mode of {name or 'the detector'}", module.training
    for name, tensor in (*detector.named_parameters(), *detector.named_buffers()):
        yield name, tensor.detach()


def _difference(old: dict[str, bool | Tensor], new: dict[str, bool | Tensor]) -> str:
    """The first name whose values differ, or that only one of the two has; an empty string where there is none."""
    for name in (*old, *(new.keys() - old.keys())):
        if not _same(old.get(name), new.get(name)):
            return name
    return ""


def _same(one: bool | Tensor | None, other: bool | Tensor | None) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one is other
