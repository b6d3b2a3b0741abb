"""Which weights of a run were evaluated: best or last, of which epoch, chosen on what; and whether that is fair."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detzoo.comparison.seed_groups import training_fact
from detzoo.errors import WeightsError
from detzoo.evaluation.results import Evaluation
from detzoo.runtime.environment import short_name
from detzoo.runtime.foreign_files import is_folder
from detzoo.weights.checkpoint import BEST, LAST, checkpoint_of, load_checkpoint


def weights_facts(place: Path) -> dict[str, Any]:
    """Facts of the weights that are loaded from a run folder or a checkpoint, for results.json.

    Raises:
        WeightsError: there is no checkpoint.
    """
    file = checkpoint_of(place)
    checkpoint = load_checkpoint(file, parts=())  # the header alone: no tensors are read
    own = checkpoint.run
    last = _last_of(file, own)
    state = own.get("state", {})
    epoch = state.get("best_epoch") if file.name == BEST else state.get("base_epoch", 0) + state.get("epoch", 0)
    return {
        "file": file.name,
        "epoch": epoch if state else None,
        "finished": last["state"].get("complete", False) if "state" in last else None,
        "selection": own.get("selection"),
        "trained_on": last.get("settings", {}).get("data"),
        "training": _training(checkpoint.recipe, last),
    }


def _training(recipe: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any] | None:
    return training_fact(recipe["values"], last["settings"], short_name(recipe["name"])) if "settings" in last else None


def _last_of(file: Path, own: dict[str, Any]) -> dict[str, Any]:
    if file.name == LAST:
        return own
    try:
        return load_checkpoint(file.with_name(LAST), parts=()).run
    except WeightsError:  # copied without its run; one that was pushed to the Hub holds the settings itself
        return own if "settings" in own else {}


def weights_words(facts: Mapping[str, Any]) -> str:
    """``best.safetensors of epoch 7, chosen by AP on val; the run is not finished``."""
    words = str(facts["file"])
    if facts.get("epoch") is not None:
        words += f" of epoch {facts['epoch']}"
    chosen = facts.get("selection")
    if chosen and facts["file"] == BEST:
        words += f", chosen by {chosen['metric']} on {chosen['split']}"
    if facts.get("finished") is not None:
        words += "; the run is finished" if facts["finished"] else "; the run is not finished"
    return words


def with_weights(evaluation: Evaluation, place: Path) -> Evaluation:
    """An evaluation with the facts of the weights, and warnings where they have seen the data.

    Args:
        evaluation: of the detector.
        place: run folder or checkpoint that it was loaded from; of other files nothing is known.
    """
    if not is_folder(place) and place.suffix != ".safetensors":
        return evaluation
    facts = weights_facts(place)
    data, chosen, learned = evaluation.facts["data"], facts["selection"], facts["trained_on"]
    warnings = [*evaluation.warnings]
    same = {"name": data["name"], "split": data["split"]}
    if learned and {name: learned.get(name) for name in same} == same:
        warnings.append(f"the run has learned from {data['name']} {data['split']}: these numbers say nothing of others")
    elif chosen and facts["file"] == BEST and {"name": chosen["data"], "split": chosen["split"]} == same:
        warnings.append(f"the best epoch was chosen on {data['split']}: its numbers are a little too good")
    model = evaluation.facts["model"] | {"weights": facts}
    return dataclasses.replace(evaluation, facts=evaluation.facts | {"model": model}, warnings=tuple(warnings))
