"""Columns that no evaluation tells: how long a detector was trained, and whether it can be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.comparison.exportable import export_facts
from detzoo.comparison.trained import Trained, trained_facts
from detzoo.interfaces import DenseHead
from detzoo.training.run import RunState
from detzoo.weights.checkpoint import LAST, Checkpoint, save_checkpoint
from tests.comparison.test_comparison import Guess


def test_nothing_is_recorded(tmp_path: Path) -> None:
    assert trained_facts(None) == trained_facts(tmp_path) == Trained(None, None, "")
    (tmp_path / LAST).write_bytes(b"")  # damaged: its numbers are not guessed
    assert trained_facts(tmp_path) == Trained()


def test_a_curve_knows_epochs_alone(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("epoch,AP\n1,\n2,0.5\n")
    assert trained_facts(tmp_path) == Trained(2, None)


@pytest.mark.parametrize("complete", [True, False])
def test_the_last_checkpoint_knows_time_and_end(tmp_path: Path, complete: bool) -> None:
    state = RunState(base_epoch=3, epoch=4, seconds=90.0, best=0.5, best_epoch=6, complete=complete)
    recipe = {"name": "x", "values": {}}
    save_checkpoint(tmp_path / LAST, Checkpoint(recipe, ("a",), {"w": torch.ones(1)}, run={"state": state.as_dict()}))
    found = trained_facts(tmp_path)
    assert (found.epochs, found.minutes) == (7, 1.5)
    assert ("epoch 7" in found.note, "best epoch is 6" in found.note) == (not complete, not complete)


class Scores(DenseHead):
    """Stands for any head: only whether there is one is asked."""

    def forward(self, *_: Any) -> Any:
        raise NotImplementedError


class Dense(Guess):
    """Declares a raw head; which one does not matter here."""

    @property
    def raw_head(self) -> DenseHead:
        return Scores.__new__(Scores)


def test_export_by_declaration() -> None:
    regions, dense, soft = Guess(), Dense(), Dense()
    soft.postprocess.fits_onnx = False
    facts = [export_facts(detector) for detector in (regions, dense, soft)]
    assert [fact["onnx"]["can"] for fact in facts] == ["detections", "yes", "raw head"]
    assert "--postprocess" in facts[0]["onnx"]["why"]
    assert "suppression" in facts[2]["onnx"]["why"]
    assert {fact["program"]["can"] for fact in facts} == {"not tried"}  # no part declares it
