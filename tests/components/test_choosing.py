"""Samplers, miners and normalisers on assignments small enough to read."""

import dataclasses

import pytest
import torch

from detzoo.components.miners import HardNegative, Ohem
from detzoo.components.normalisers import Fixed, MovingAverage, Positives, Qualities, Sampled
from detzoo.components.samplers import All, RandomFraction
from detzoo.types import BACKGROUND, IGNORE, Assignment

B, OUT = BACKGROUND, IGNORE
EMPTY = Assignment(torch.zeros(2, 0, dtype=torch.long))
TWO = Assignment(torch.tensor([[0, B, B, B, B, OUT], [B, B, B, B, B, OUT]]))
LOSSES = torch.tensor([[0.1, 0.2, 0.9, 0.3, 0.4, 9.0], [0.5, 0.6, 0.7, 0.8, 0.9, 9.0]])


@pytest.mark.parametrize("miner", [HardNegative(), HardNegative(scope="batch"), Ohem(size=4)])
def test_nothing_to_mine(miner: HardNegative | Ohem) -> None:
    assert miner(torch.zeros(2, 0), EMPTY).shape == (2, 0)


def test_three_negatives_per_positive_of_the_same_image() -> None:
    chosen = HardNegative()(LOSSES, TWO)
    # image 1 has no object, so it gives no loss; ignored candidates are never chosen, however large their loss
    assert chosen.tolist() == [[True, False, True, True, True, False], [False] * 6]


def test_min_negatives() -> None:
    chosen = HardNegative(min_negatives=2)(LOSSES, TWO)
    assert chosen[1].tolist() == [False, False, False, True, True, False]
    assert int(chosen[0].sum()) == 4


def test_scope_batch() -> None:
    chosen = HardNegative(scope="batch")(LOSSES, TWO)
    assert chosen.tolist() == [[True, False, True, False, False, False], [False, False, False, True, True, False]]


def test_hard_negative_ratio_rounds_down() -> None:
    assert int(HardNegative(ratio=2.5)(LOSSES, TWO).sum()) == 3
    assert int(HardNegative(ratio=(1 - 0.25) / 0.25)(LOSSES, TWO).sum()) == 4


def test_ohem_takes_the_largest_losses_of_each_image() -> None:
    assert Ohem(size=2)(LOSSES, TWO).tolist() == [
        [False, False, True, False, True, False],
        [False, False, False, True, True, False],
    ]


def test_all_changes_nothing() -> None:
    assert All()(TWO) is TWO


def test_random_fraction_fills_up_with_negatives() -> None:
    index = torch.cat([torch.arange(40), torch.full((60,), B), torch.full((10,), OUT)]).repeat(3, 1)
    index[2, :35] = OUT  # five positives only
    torch.manual_seed(0)
    drawn = RandomFraction(size=32, positive_fraction=0.25)(Assignment(index))
    assert drawn.positive.sum(1).tolist() == [8, 8, 5]
    assert drawn.negative.sum(1).tolist() == [24, 24, 27]
    kept = drawn.index != OUT
    assert torch.equal(drawn.index[kept], index[kept])
    torch.manual_seed(0)
    assert torch.equal(RandomFraction(size=32, positive_fraction=0.25)(Assignment(index)).index, drawn.index)
    assert not torch.equal(drawn.index[0], drawn.index[1])


def test_random_fraction_of_nothing() -> None:
    assert RandomFraction()(EMPTY).index.shape == (2, 0)


FOUR = Assignment(torch.tensor([[0, 1, 1, B], [B, B, OUT, 0]]))


def test_divisors() -> None:
    assert Positives()(FOUR).item() == 4  # SSD: matches of the batch
    assert Positives(scope="image")(FOUR).tolist() == [6, 2]  # mean over 2 images of loss / 3 and loss / 1
    assert Positives()(EMPTY).item() == 1
    assert Positives(scope="image")(EMPTY).tolist() == [2, 2]
    assert Sampled()(FOUR).item() == 7
    assert Fixed(value=256.0)(FOUR).tolist() == [512, 512]
    assert Fixed(value=256.0, scope="batch")(FOUR).item() == 256


def test_the_sum_of_qualities_is_that_of_the_positives() -> None:
    quality = torch.tensor([[0.5, 1.0, 0.75, 0.9], [0.9, 0.9, 0.9, 0.25]])  # what is not positive does not count
    soft = dataclasses.replace(FOUR, quality=quality)
    assert Qualities()(soft).item() == 2.5
    assert Qualities(scope="image")(soft).tolist() == [4.5, 2]  # 2 images of 2.25 and, at least, 1
    assert Qualities(scope="image", at_least=0.125)(soft).tolist() == [4.5, 0.5]
    assert Qualities()(FOUR).item() == 4
    assert Qualities()(EMPTY).item() == 1
    every_class = dataclasses.replace(FOUR, quality=torch.stack((quality, quality / 2), dim=2))
    assert Qualities()(every_class).item() == 3.75


def test_samplers_keep_the_quality() -> None:
    quality = torch.rand(2, 4)
    thinned = RandomFraction(size=2)(dataclasses.replace(FOUR, quality=quality))
    assert thinned.quality is quality


def test_moving_average_starts_at_100_and_stands_still_without_gradients() -> None:
    average = MovingAverage()
    assert average(FOUR).item() == pytest.approx(0.9 * 100 + 0.1 * 4)
    with torch.no_grad():
        assert average(FOUR).item() == pytest.approx(90.4)
    assert average.state_dict()["average"].item() == pytest.approx(90.4)


def test_counts_are_summed_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import distributed

    def other_process_has_ten(total: torch.Tensor) -> None:
        total += 10

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", other_process_has_ten)
    # gradients are averaged over 2 processes: (a / 7 + b / 7) / 2 = (a + b) / 14
    assert Positives()(FOUR).item() == 7
    assert Qualities()(dataclasses.replace(FOUR, quality=torch.full((2, 4), 0.5))).item() == 6
    # a process whose images are empty divides by the same number
    assert Positives()(EMPTY).item() == 5
