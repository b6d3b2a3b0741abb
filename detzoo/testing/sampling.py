"""Checks of samplers, miners and normalisers: which candidates enter the loss, and what divides it."""

from __future__ import annotations

import torch

from detzoo.testing.subject import Subject, assert_unchanged, snapshot
from detzoo.types import BACKGROUND, IGNORE, Assignment


def check_sampler_only_ignores(subject: Subject) -> None:
    """A sampler turns entries into IGNORE, never into anything else, and keeps to its size."""
    before = assignment(4)
    copied = before.index.clone()
    found = subject.component(before)
    assert torch.equal(before.index, copied), "the assignment was changed in place"
    changed = found.index != before.index
    assert bool((found.index[changed] == IGNORE).all()), "a sampler made something other than IGNORE of an entry"
    size = subject.component.size
    if size is not None:
        kept = int((found.index != IGNORE).sum(1).max())
        assert kept <= size, f"{kept} candidates of an image were kept, size is {size}"


def check_sampler_takes_the_empty_case(subject: Subject) -> None:
    """No positives, and no candidates at all."""
    for index in (torch.full((2, 40), BACKGROUND), torch.full((2, 40), IGNORE), torch.zeros(2, 0, dtype=torch.int64)):
        found = subject.component(Assignment(index))
        assert found.index.shape == index.shape, "the shape changed"
        assert int((found.index >= 0).sum()) == 0, "a positive came out of nothing"


def check_miner_chooses_among_the_offered(subject: Subject) -> None:
    """All or some of positives and negatives, never an ignored candidate; nothing is changed."""
    given = assignment(4)
    losses = torch.rand(given.index.shape, generator=torch.Generator().manual_seed(3))
    before = snapshot((losses, given))
    chosen = subject.component(losses, given)
    assert chosen.dtype == torch.bool, f"a miner returns bool, not {chosen.dtype}"
    assert chosen.shape == losses.shape, f"a miner returns {tuple(losses.shape)}, not {tuple(chosen.shape)}"
    assert not bool((chosen & (given.index == IGNORE)).any()), "an ignored candidate was chosen"
    assert_unchanged(before, (losses, given), "the input")


def check_miner_takes_the_empty_case(subject: Subject) -> None:
    """No positives, and no candidates at all."""
    for count in (30, 0):
        given = Assignment(torch.full((2, count), BACKGROUND))
        assert subject.component(torch.zeros(2, count), given).shape == (2, count), "the shape changed"


def check_normaliser_is_never_zero(subject: Subject) -> None:
    """A divisor that is finite and positive, also without positives."""
    for given in (assignment(4), Assignment(torch.full((2, 30), BACKGROUND)), Assignment(torch.zeros(2, 0).long())):
        divisor = subject.component(given)
        assert divisor.ndim == 0 or divisor.shape == given.index.shape[:1], (
            f"a normaliser returns a scalar or [B], not {tuple(divisor.shape)}"
        )
        assert divisor.is_floating_point(), f"a normaliser returns floats, not {divisor.dtype}"
        assert bool((torch.isfinite(divisor) & (divisor > 0)).all()), f"the divisor is {divisor.tolist()}"


def assignment(images: int, number: int = 400) -> Assignment:
    """A seeded mixture: few positives, many negatives, some ignored; the last image has no positives."""
    source = torch.Generator().manual_seed(5)
    draw = torch.rand(images, number, generator=source)
    index = torch.full((images, number), BACKGROUND)
    index[draw < 0.1] = IGNORE
    index[draw > 0.9] = 2
    index[-1, index[-1] >= 0] = BACKGROUND
    return Assignment(index, overlap=draw)
