"""docs/matrix.csv says what is so: some 25 rows of it are tried again here, the others among the slow tests."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from detzoo.matrix.combinations import all_combinations, no_place, starts
from detzoo.matrix.ledger import Row
from detzoo.matrix.page import csv_text, page, read_csv
from detzoo.matrix.trial import try_start

DOCS: Final = Path(__file__).parents[2] / "docs"
HEAVY: Final = {
    "inception_resnet_v2", "nasnet", "resnet50", "resnet101", "resnext50", "vgg16", "vgg16_ssd", "image_pyramid",
}  # fmt: skip
"""Backbones, and a wrapper of others, whose combinations take more than a second each."""
SLOWER: Final = {"darknet53_spp", "inception_v2", "resnet34", "roi_mask", "roi_box_res5", "roi_box_tail"}
"""Parts that one row of the sample is enough for."""
PAIRS: Final = (
    {"backbone", "neck"}, {"backbone", "head"}, {"neck", "head"},
    {"head", "matcher"}, {"head", "loss"}, {"head", "postprocess"},
)  # fmt: skip


def published() -> list[Row]:
    return read_csv(DOCS / "matrix.csv")


def pairwise(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows that hold every pair of PAIRS, those that work first."""
    seen: set[tuple[tuple[str, str], tuple[str, str]]] = set()
    light = (row for row in rows if row.combination.parts.get("backbone") not in HEAVY)
    for row in sorted(light, key=lambda row: row.outcome.status != "works"):
        pairs = itertools.combinations(row.combination.parts.items(), 2)
        new = {pair for pair in pairs if {pair[0][0], pair[1][0]} in PAIRS} - seen
        if new:
            seen |= new
            yield row


def sample(rows: Iterable[Row], rejected: int = 8) -> list[Row]:
    """Working rows that name every component that works somewhere, and some rejected ones, evenly over the rest."""
    rows = list(pairwise(rows))
    works = [row for row in rows if row.outcome.status == "works"]
    waiting = {part for row in works for part in row.combination.parts.items()}
    chosen: list[Row] = []
    while waiting:
        best = max(works, key=lambda row: _worth(row, waiting))
        waiting -= set(best.combination.parts.items())
        chosen.append(best)
    others = [row for row in rows if row.outcome.status != "works"]
    return chosen + others[:: max(1, len(others) // rejected)][:rejected]


def _worth(row: Row, waiting: set[tuple[str, str]]) -> tuple[int, int]:
    parts = row.combination.parts
    return len(waiting & set(parts.items())), -len(SLOWER & set(parts.values()))


def check(row: Row) -> None:
    """One start that is written down gives what is written down."""
    combination, written = row.combination, row.outcome
    where = [s for s in starts(combination) if (s.frame.recipe, s.carry) == (written.recipe, written.carry)]
    if not written.recipe:
        assert not starts(combination)
        assert written.reason == no_place(combination)
        return
    found = [try_start(combination, start) for start in where]
    assert any((one.status, one.reason) == (written.status, written.reason) for one in found), found


def test_every_row_is_of_what_is_registered() -> None:
    known = [one.key for one in all_combinations()]
    written = [row.combination.key for row in published()]
    assert [key for key in known if key in set(written)] == written


@pytest.mark.slow  # and hours of `detzoo matrix` where a component has come
def test_everything_registered_is_published() -> None:
    assert [row.combination.key for row in published()] == [one.key for one in all_combinations()]


def test_nothing_is_broken() -> None:
    assert [row.combination.key for row in published() if row.outcome.status == "broken"] == []


def test_the_page_shows_the_rows() -> None:
    text = (DOCS / "matrix.md").read_text(encoding="utf-8")
    assert "Made by `detzoo matrix` with detzoo " in text
    assert text.partition("## Backbone")[2] == page(published()).partition("## Backbone")[2]
    assert csv_text(published()) == (DOCS / "matrix.csv").read_text(encoding="utf-8")


def test_pairwise_leaves_no_light_pair_out() -> None:
    tried = list(pairwise(published()))
    assert len(tried) > 600
    pairs = {frozenset(pair) for row in tried for pair in itertools.combinations(row.combination.parts.items(), 2)}
    parts = {part for row in published() for part in row.combination.parts.items()}
    names = {kind: {name for one, name in parts if one == kind} for kind, _ in parts}
    for one, other in PAIRS:
        for pair in itertools.product(names[one], names[other]):
            assert HEAVY & set(pair) or frozenset(zip((one, other), pair, strict=True)) in pairs


def test_the_sample_names_every_component_that_works_somewhere() -> None:
    rows = sample(published())
    assert len(rows) < 60
    named = {part for row in rows for part in row.combination.parts.items()}
    assert {
        part for row in pairwise(published()) if row.outcome.status == "works" for part in row.combination.parts.items()
    } <= named
    assert sum(row.outcome.status != "works" for row in rows) == 8


def every_other(rows: Iterable[Row]) -> list[Any]:
    """The rest is slow: the conformance kit builds, trains and predicts with each component as well."""
    marks = itertools.cycle([(), (pytest.mark.slow,)])
    return [pytest.param(row, id=row.combination.key, marks=mark) for row, mark in zip(rows, marks, strict=False)]


@pytest.mark.parametrize("row", every_other(sample(published())))
def test_sample(row: Row) -> None:
    check(row)


def wrong(rows: Iterable[Row]) -> list[str]:
    """What does not give what is written down: one test for thousands of rows, which take seconds to collect."""
    found = []
    for row in rows:
        try:
            check(row)
        except AssertionError as error:
            found.append(f"{row.combination.key}: {error}")
    return found


@pytest.mark.slow
def test_pairwise() -> None:
    assert wrong(pairwise(published())) == []


@pytest.mark.slow
def test_all() -> None:
    assert wrong(published()) == []
