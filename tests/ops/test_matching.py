"""Greedy bipartite matching against the loop that it replaces."""

import torch

from detzoo.ops.matching import greedy_bipartite, matched_boxes, matched_labels, safe_candidates
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Targets


def caffe_loop(overlaps: torch.Tensor) -> list[int]:
    """MatchBBox of bbox_util.cpp for one image: overlaps [M,N] -> prior of each ground truth."""
    truths, priors = overlaps.shape
    found, pool, taken = [-1] * truths, set(range(truths)), set()
    while pool:
        best, at = -1.0, None
        for i in range(priors):
            for j in sorted(pool):
                if i not in taken and overlaps[j, i] > 1e-6 and overlaps[j, i] > best:
                    best, at = float(overlaps[j, i]), (j, i)
        if at is None:
            break
        found[at[0]] = at[1]
        pool.remove(at[0])
        taken.add(at[1])
    return found


def test_nothing_to_match() -> None:
    assert greedy_bipartite(torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)
    assert greedy_bipartite(torch.zeros(2, 3, 0), torch.ones(2, 3, dtype=torch.bool)).tolist() == [[-1] * 3] * 2


def test_equals_caffes_loop_with_ties_and_gaps() -> None:
    generator = torch.Generator().manual_seed(0)
    # few values, so that ties abound; zeros, so that some ground truth finds nothing
    overlaps = torch.randint(0, 5, (40, 6, 8), generator=generator) / 4
    usable = torch.rand(40, 6, generator=generator) > 0.2
    found = greedy_bipartite(overlaps, usable)
    for image in range(40):
        masked = torch.where(usable[image][:, None], overlaps[image], 0.0)
        assert found[image].tolist() == caffe_loop(masked)


def test_matched_rows_and_safe_rows() -> None:
    boxes = torch.tensor([[[0.0, 0, 2, 2], [5.0, 5, 5, 5], [1.0, 1, 3, 3]]])
    candidates = Candidates(boxes, torch.tensor([[True, False, True]]))
    targets = Targets(
        boxes=torch.tensor([[[7.0, 7, 9, 9], [4.0, 4, 6, 6]]]),
        labels=torch.tensor([[3, 8]]),
        ignore=torch.zeros(1, 2, dtype=torch.bool),
        valid=torch.ones(1, 2, dtype=torch.bool),
        region=torch.tensor([[0.0, 0, 10, 10]]),
    )
    assignment = Assignment(torch.tensor([[1, IGNORE, BACKGROUND]]))
    assert matched_boxes(candidates, targets, assignment).tolist() == [[[4, 4, 6, 6], [0, 0, 1, 1], [1, 1, 3, 3]]]
    assert matched_labels(targets, assignment).tolist() == [[8, BACKGROUND, BACKGROUND]]
    assert safe_candidates(candidates).boxes.tolist() == [[[0, 0, 2, 2], [0, 0, 1, 1], [1, 1, 3, 3]]]
