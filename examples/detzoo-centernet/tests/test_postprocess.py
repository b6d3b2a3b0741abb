"""Local maxima by hand."""

from __future__ import annotations

import pytest
import torch

from detzoo.ops.grid import grid_candidates
from detzoo.testing import image_batch
from detzoo.types import Predictions
from detzoo_centernet.box_coder import CentreInCell
from detzoo_centernet.postprocess import Peaks

ROWS, COLUMNS = 4, 5


def found_at(scores: torch.Tensor, peaks: Peaks) -> list[tuple[int, int, int]]:
    """Class, row and column of each detection of a heatmap [K,4,5], best first."""
    cells = grid_candidates({"s4": torch.zeros(1, 1, ROWS, COLUMNS)}, {"s4": 4.0}, (1.0,), coder=CentreInCell())
    logits = torch.logit(scores).flatten(1).T.unsqueeze(0)
    deltas = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(1, ROWS * COLUMNS, 1, 4)  # each box is its cell
    batch = image_batch(1, size=(ROWS * 4, COLUMNS * 4))
    detections = peaks(Predictions(logits, "sigmoid", deltas), cells, batch)
    kept = detections.valid[0]
    boxes, labels = detections.boxes[0, kept], detections.labels[0, kept]
    return [(int(k), int(b[1] / 4), int(b[0] / 4)) for b, k in zip(boxes, labels, strict=True)]


def test_nothing_above_the_threshold_is_no_detection() -> None:
    assert found_at(torch.full((2, ROWS, COLUMNS), 0.01), Peaks(score_threshold=0.5)) == []


def test_neighbours_of_a_peak_are_no_detections() -> None:
    scores = torch.full((2, ROWS, COLUMNS), 0.01)
    scores[0, 1, 1], scores[0, 1, 2], scores[0, 2, 3] = 0.9, 0.8, 0.7  # each beside the next: the last is no peak
    scores[1, 1, 2] = 0.6  # of another class
    assert found_at(scores, Peaks(score_threshold=0.1)) == [(0, 1, 1), (1, 1, 2)]
    assert found_at(scores, Peaks(score_threshold=0.1, window=1)) == [(0, 1, 1), (0, 1, 2), (0, 2, 3), (1, 1, 2)]


def test_corners_have_fewer_neighbours() -> None:
    scores = torch.full((1, ROWS, COLUMNS), 0.01)
    scores[0, 0, 0], scores[0, 3, 4] = 0.5, 0.4
    assert found_at(scores, Peaks(score_threshold=0.1)) == [(0, 0, 0), (0, 3, 4)]


@pytest.mark.parametrize("keep", [1, 3])
def test_no_more_than_wanted_are_kept(keep: int) -> None:
    scores = torch.full((1, ROWS, COLUMNS), 0.3)  # a plateau: every cell is a peak
    assert len(found_at(scores, Peaks(keep=keep))) == keep
