"""Means of distributions and neighbouring bins, against loops and by hand."""

import math

import pytest
import torch

from detzoo.ops.distributions import expectation, neighbouring_bins

BINS = torch.arange(5.0)


def test_nothing() -> None:
    assert expectation(torch.zeros(0, 4, 5), BINS).shape == (0, 4)
    left, share = neighbouring_bins(torch.zeros(0, 4), BINS)
    assert left.shape == share.shape == (0, 4)


def test_expectation_equals_the_sum_of_probabilities_times_bins() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for row, found in zip(logits.tolist(), expectation(logits, BINS).tolist(), strict=True):
        weights = [math.exp(value) for value in row]
        assert found == pytest.approx(sum(w * y for y, w in enumerate(weights)) / sum(weights))
    assert expectation(torch.zeros(5), BINS).item() == 2
    assert expectation(torch.zeros(5, dtype=torch.bfloat16), BINS).dtype == torch.float32


def test_neighbouring_bins() -> None:
    left, share = neighbouring_bins(torch.tensor([0.0, 0.25, 1.0, 3.75, 4.0]), BINS)
    assert left.tolist() == [0, 0, 1, 3, 3]
    assert share.tolist() == [0, 0.25, 0, 0.75, 1]
    # bins that are farther apart the farther out, as D-FINE's
    left, share = neighbouring_bins(torch.tensor([3.0]), torch.tensor([0.0, 1, 5]))
    assert (left.item(), share.item()) == (1, 0.5)
