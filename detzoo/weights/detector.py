"""Weights of a whole detector: its own, published ones, another implementation's, and those for other classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector, StartingPoint
from detzoo.plugins.registry import get_registry
from detzoo.recipes.full_names import PROVIDERS, stored_values
from detzoo.runtime.foreign_files import is_there
from detzoo.runtime.near_names import nearest
from detzoo.schema.describing import unknown
from detzoo.weights.hub import is_pinned
from detzoo.weights.sources import fetch, read_state_dict
from detzoo.weights.values import key_problems, value_problems

if TYPE_CHECKING:
    from detzoo.recipes.recipe import Recipe

_log = logging.getLogger("detzoo.weights")


def load_weights(detector: Detector, weights: str, recipe: Recipe, build: Callable[..., Detector]) -> None:
    """Load ``published`` weights, one of them by name, or a checkpoint; where they are for other classes, to fine-tune.

    Args:
        detector: to load into.
        weights: ``published``, the name of published weights, or the path of a checkpoint or run.
        recipe: before its classes were changed; its published weights are for those.
        build: makes that recipe's own detector.

    Raises:
        WeightsError: there are none, or they do not fit.
    """
    published = recipe.values["weights"]
    chosen = [entry for entry in published if weights in ("published", entry["name"])]
    if chosen:
        if chosen[0]["sha256"] is None and not is_pinned(chosen[0]["url"]):
            _log.warning("%s: no digest was published for it, so the file is not checked against one", chosen[0]["url"])
        file = fetch(chosen[0]["url"], sha256=chosen[0]["sha256"])
        own = tuple(detector.recipe.values["weights"]) == tuple(published)
        owner = detector if own else build(recipe, backbone_weights=False)
        convert_weights(owner, file, source=chosen[0]["source"])
        if owner is not detector:  # published weights are for the recipe's own classes
            _load_for(detector, owner.state_dict(), chosen[0]["name"], owner.classes)
        return
    path = Path(weights)
    if is_there(path):
        from detzoo.weights.checkpoint import load_model_state

        _, classes, state = load_model_state(path)
        _load_for(detector, state, weights, classes)
        return
    names = [entry["name"] for entry in published]
    known = f"{', '.join(names)} ({nearest(weights, names) or 'published: the first'})" if names else "none"
    raise WeightsError(
        f'{detector.recipe.name}: the weights "{weights}" are neither a file or run nor published; published for this '
        f'recipe: {known}. Also allowed: "backbone" (its pretrained backbone), None (untrained)'
    )


def convert_weights(detector: Detector, weights: Mapping[str, Tensor] | str | Path, *, source: str) -> None:
    """Load another implementation's state dict into a detector, every key accounted for.

    Args:
        detector: built with the matching recipe and number of classes.
        weights: a state dict, or a file of one (``.safetensors``, ``.pth`` read without unpickling objects, or a
            format of the source's own that a plugin reads).
        source: ``torchvision``, ``darknet``, ... as the plugin's converters name it; ``detzoo`` renames nothing.

    Raises:
        WeightsError: no converter, or keys and shapes that do not fit.
    """
    state = dict(weights) if isinstance(weights, Mapping) else _read_weights(Path(weights), source, _own(detector))
    if source != "detzoo":
        found = get_registry().plugins.call(
            "detzoo_convert_weights", _own(detector), detector=detector, state_dict=state, source=source
        )
        if not found:
            raise WeightsError(f"{detector.recipe.name}: {_no_converter(source)}")
        state = found[0]
    load_state(detector, state, source)


def load_state(detector: Detector, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict of the detector's own names, strictly.

    Raises:
        WeightsError: names or shapes differ; the first of each are listed.
    """
    wrong = key_problems(detector.state_dict(), state)
    if wrong:
        raise WeightsError(f"{where} does not fit {detector.recipe.name}: {wrong}; is num_classes the same?")
    check_values(detector, state, where)
    detector.load_state_dict(dict(state))
    detector.begin_at(StartingPoint({"detector": where}))


def check_values(network: nn.Module, state: Mapping[str, Tensor], where: object) -> None:
    """Reject values that no weights have, before anything changes.

    Raises:
        WeightsError: the first of them are named.
    """
    bad = value_problems(network.state_dict(), state)
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise WeightsError(
            f"{where} holds values that cannot be weights: {'; '.join(bad[:5])}{more}. The file is damaged, or its "
            "training diverged; take an earlier checkpoint, or fetch it again"
        )


def _load_for(detector: Detector, state: Mapping[str, Tensor], where: str, classes: Sequence[str | None]) -> None:
    """Load weights that are for ``classes``: what depends on another number of them stays as it was initialised."""
    count = len(classes)
    step = abs(len(detector.classes) - count)  # background cancels in the difference
    if step == 0:
        other = [(there, here) for there, here in zip(classes, detector.classes, strict=True) if there != here]
        if other and all(there is not None and here is not None for there, here in other):
            pairs = ", ".join(f"{there!r} -> {here!r}" for there, here in other[:8])
            _log.warning("%s is for other classes of the same number, taken in their order: %s", where, pairs)
        load_state(detector, state, where)
        return
    own = detector.state_dict()
    fresh = [key for key in own if key in state and _differ_by_classes(own[key], state[key], step)]
    known = {key: value for key, value in state.items() if key not in fresh}
    wrong = key_problems({key: value for key, value in own.items() if key not in fresh}, known)
    if wrong:
        raise WeightsError(
            f"{where} does not fit {detector.recipe.name}, even but for the layers whose size follows the number of "
            f"classes ({count} there, {len(detector.classes)} here): {wrong}"
        )
    check_values(detector, known, where)
    detector.load_state_dict(own | known)  # own: the layers that start afresh
    detector.begin_at(StartingPoint({"detector": where}, random=tuple(fresh)))
    _log.warning("%s is for %d classes: %s start afresh for %d", where, count, ", ".join(fresh), len(detector.classes))


def _differ_by_classes(own: Tensor, other: Tensor, step: int) -> bool:
    """Whether one side differs, by a multiple of the difference in classes: sides are a + b K with whole b."""
    if own.dim() != other.dim():
        return False
    gaps = [abs(a - b) for a, b in zip(own.shape, other.shape, strict=True) if a != b]
    return len(gaps) == 1 and gaps[0] % step == 0  # two differing sides are another network


def _own(detector: Detector) -> list[str]:
    """The plugins that a detector is made of: their converters are asked before those of others."""
    return list(stored_values(detector.recipe.values)[PROVIDERS])


def _read_weights(path: Path, source: str, first: Sequence[str]) -> dict[str, Tensor]:
    """By the plugin that knows the source's own format, else as a state dict."""
    found = get_registry().plugins.call("detzoo_read_weights", first, path=path, source=source)
    return found[0] if found else read_state_dict(path)


def _no_converter(source: str) -> str:
    """Why no plugin answered: none knows the source, or none of those that do knows the detector."""
    manifests = [record.manifest for record in get_registry().plugins.usable() if record.manifest]
    known: dict[str, list[str]] = {}
    for converter in (converter for manifest in manifests for converter in manifest.converters):
        known.setdefault(converter["source"], []).extend(converter["detectors"])
    if source not in known:
        return unknown("source of weights", source, known)
    recipes = ", ".join(sorted(known[source]))
    extend = "it" if len(known[source]) == 1 else "them"
    return (
        f'no converter turns weights of source "{source}" into this detector; '
        f"they are for {recipes} and recipes that extend {extend}"
    )
