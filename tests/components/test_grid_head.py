"""``GridHead``: squares of every cell in the order of the predictions, and what it declares."""

import pytest
import torch
from torch import Tensor, nn

from detzoo.builder import build_component
from detzoo.interfaces import BoxCoder, GridHead
from detzoo.ops.grid import grid_candidates, rows
from detzoo.testing import candidates, image_batch
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs, Level

SPECS = {"s16": FeatureSpec(channels=2, stride=16.0), "s32": FeatureSpec(channels=2, stride=32.0)}


class Copies(GridHead):
    """The input's first channel is every logit, plus 10 for the second square; the second channel is every delta."""

    def __init__(self, features: FeatureSpecs, num_classes: int, /, *, box_coder: BoxCoder) -> None:
        super().__init__(features, box_coder, sides=[2.0, 3.0])
        self.columns = num_classes
        self.weight = nn.Parameter(torch.ones(()))

    def predict(self, features: FeatureMaps) -> tuple[FeatureMaps, FeatureMaps]:
        second = torch.tensor([0.0, 10.0]).repeat_interleave(self.columns).view(1, -1, 1, 1)
        logits = {name: one[:, :1] * self.weight + second for name, one in features.items()}
        return logits, {name: one[:, 1:].repeat(1, 8, 1, 1) for name, one in features.items()}


def head(specs: FeatureSpecs = SPECS) -> Copies:
    return Copies(specs, 3, box_coder=build_component("box_coder", {"type": "centre_size"}))


def maps(images: int, rows: int = 2, columns: int = 3) -> dict[str, Tensor]:
    """Maps in which every number differs; a map that the head was not built for stands among them."""
    fine = torch.arange(float(images * 2 * 4 * rows * columns)).view(images, 2, 2 * rows, 2 * columns)
    return {"s16": fine, "s32": -fine[..., :rows, :columns], "s64": fine}


def test_no_images_and_no_cells() -> None:
    places, said = head()(maps(0), image_batch(0))
    assert places.boxes.shape == (1, 2 * (24 + 6), 4)
    assert said.class_logits is not None
    assert said.class_logits.shape == (0, 60, 3)
    assert said.deltas.shape == (0, 60, 1, 4)
    places, said = head()(maps(2, rows=0), image_batch(2))
    assert places.boxes.shape == (1, 0, 4)
    assert said.deltas.shape == (2, 0, 1, 4)


def test_each_row_is_the_square_that_it_speaks_of() -> None:
    features = maps(2)
    mine = head()
    places, said = mine(features, image_batch(2))
    assert places.levels == (Level("s16", 4, 6, 2, 16.0), Level("s32", 2, 3, 2, 32.0))
    assert places.coder is mine.coder
    assert bool(places.valid.all())
    # s32, row 1, column 2, second square: after 48 of s16; its middle is (80, 48) px, its half side 1.5 strides
    row = 48 + (1 * 3 + 2) * 2 + 1
    assert places.boxes[0, row].tolist() == [80 - 48, 48 - 48, 80 + 48, 48 + 48]
    assert said.class_logits is not None
    assert said.class_logits[1, row].tolist() == [float(features["s32"][1, 0, 1, 2]) + 10] * 3
    assert said.deltas[1, row, 0].tolist() == [float(features["s32"][1, 1, 1, 2])] * 4
    assert said.scoring == "sigmoid"


@pytest.mark.parametrize("sides", [(2.0,), (1.0, 2.5)])
def test_candidates_by_hand_are_those_of_a_grid(sides: tuple[float, ...]) -> None:
    features = {"s8": torch.zeros(1, 1, 12, 16), "s16": torch.zeros(1, 1, 6, 8)}
    made = grid_candidates(features, {"s8": 8.0, "s16": 16.0}, sides)
    by_hand = candidates(size=(96, 128), strides=(8, 16), sides=sides)
    assert torch.equal(made.boxes, by_hand.boxes)
    assert made.levels == by_hand.levels


def test_rows_go_row_column_entry() -> None:
    answer = torch.arange(2 * 4 * 3 * 5).view(2, 4, 3, 5)  # two entries of two columns on 3 x 5 cells
    found = rows(answer, 2)
    assert found.shape == (2, 30, 2)
    assert found[1, (2 * 5 + 3) * 2 + 1].tolist() == answer[1, 2:4, 2, 3].tolist()
    assert rows(torch.zeros(0, 4, 3, 5), 2).shape == (0, 30, 2)


def test_squares_lie_around_the_point_of_each_cell() -> None:
    features = {"s16": torch.zeros(1, 1, 2, 3)}
    corners = grid_candidates(features, {"s16": 16.0}, (1.0,), offset=0.0).boxes[0]
    assert corners[[0, 5]].tolist() == [[-8, -8, 8, 8], [24, 8, 40, 24]]  # around (0, 0), and (32, 16)
    middles = grid_candidates(features, {"s16": 16.0}, (1.0,)).boxes[0]
    assert torch.equal(middles, corners + 8)
