"""What an evaluation says of the weights that it used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.comparison.evaluate_one import summary
from detzoo.comparison.weights_facts import weights_facts, weights_words, with_weights
from detzoo.evaluation.results import Evaluation, evaluate_detections
from detzoo.weights.checkpoint import BEST, LAST, Checkpoint, save_checkpoint

CHOSEN = {"data": "cells", "split": "val", "images": 4, "metric": "AP"}


def write(folder: Path, name: str, **run: Any) -> None:
    recipe = {"name": "toy", "values": {}}
    save_checkpoint(folder / name, Checkpoint(recipe, ("a",), {"w": torch.zeros(1)}, run=run))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    state = {"best_epoch": 3, "base_epoch": 2, "epoch": 5, "complete": False}
    write(tmp_path, BEST, state=state, selection=CHOSEN)
    settings = {"data": {"name": "cells", "split": "train"}}
    write(tmp_path, LAST, state=state, selection=CHOSEN, settings=settings)
    return tmp_path


def on(split: str) -> Evaluation:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    truth = {
        "images": [{"id": 1, "file_name": "a", "height": 20, "width": 20}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    facts = {"data": {"name": "cells", "split": split}, "model": {"name": "toy"}}
    return evaluate_detections([], truth, facts=facts)


def test_the_weights_of_a_run(run: Path) -> None:
    assert weights_words(weights_facts(run)) == (
        "best.safetensors of epoch 3, chosen by AP on val; the run is not finished"
    )
    assert weights_words(weights_facts(run / LAST)) == "last.safetensors of epoch 7; the run is not finished"
    write(run, LAST, state={"base_epoch": 0, "epoch": 7, "complete": True})
    assert weights_facts(run)["finished"] is True
    (run / LAST).unlink()
    assert weights_facts(run)["finished"] is None


@pytest.mark.parametrize(
    ("split", "word"), [("test", ""), ("val", "chosen on val"), ("train", "learned from cells train")]
)
def test_data_that_the_weights_have_seen(run: Path, split: str, word: str) -> None:
    found = with_weights(on(split), run)
    assert found.facts["model"]["weights"]["file"] == BEST
    assert len(found.warnings) == len(on(split).warnings) + bool(word)
    assert word in " ".join(found.warnings)


def test_the_text_names_the_weights_and_classes_without_a_box(run: Path) -> None:
    text = summary(with_weights(on("test"), run), 100)
    assert "weights: best.safetensors of epoch 3" in text
    assert "without a box, and without AP: b" in text
    assert "weights" not in summary(dataclasses.replace(on("test")), 100)
