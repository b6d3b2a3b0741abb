"""A run knows which annotations it learned from: corrected ones make another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detzoo.data.formats.index import Index
from detzoo.errors import TrainingError
from detzoo.training import RunSummary, train
from detzoo.weights.checkpoint import LAST, load_checkpoint, save_checkpoint
from tests.training.training_toy import ToyDataset, toy


class Corrected(ToyDataset):
    """With one box that is a pixel wider."""

    def annotations(self) -> Index:
        index = super().annotations()
        index.boxes[0, 2] += 1
        return index


def run(out: Path, data: ToyDataset, **options: Any) -> RunSummary:
    return train(toy(epochs=1), data, out, device="cpu", workers=0, progress=False, **options)


def test_corrected_annotations_are_another_training(tmp_path: Path) -> None:
    run(tmp_path / "run", ToyDataset())
    told = r"cannot resume, this is another training:\n  run\.data\.annotations: '\w+' in the run, '\w+' now\n"
    with pytest.raises(TrainingError, match=told):
        run(tmp_path / "run", Corrected(), resume=True)
    assert run(tmp_path / "run", ToyDataset(), resume=True).steps == 3


def test_a_run_that_is_older_than_the_digest_of_its_annotations_is_resumed(tmp_path: Path) -> None:
    run(tmp_path / "run", ToyDataset())
    saved = load_checkpoint(tmp_path / "run" / LAST)
    del saved.run["settings"]["data"]["annotations"]
    save_checkpoint(tmp_path / "run" / LAST, saved)
    assert run(tmp_path / "run", ToyDataset(), resume=True).steps == 3
