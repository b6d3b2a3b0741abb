"""The options of a run: one dataclass, whose fields type checkers see as keyword arguments."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest

from detzoo.errors import DetzooError
from detzoo.training.keyword_options import TrainKeywords
from detzoo.training.options import TrainOptions


def test_the_keywords_are_the_fields_with_their_types() -> None:
    assert get_type_hints(TrainKeywords) == {
        name: hint
        for name, hint in get_type_hints(TrainOptions).items()
        if name in {one.name for one in fields(TrainOptions)}
    }


def test_an_option_that_does_not_exist_is_named_with_the_allowed_ones() -> None:
    with pytest.raises(TypeError, match=r"epoch; allowed: .*epochs"):
        TrainOptions.of({"epoch": 3})


@pytest.mark.parametrize("name", ["epochs", "steps", "batch", "accumulate", "checkpoint_steps"])
def test_a_count_below_one_is_an_error(name: str) -> None:
    with pytest.raises(DetzooError, match=f"{name} is 0"):
        TrainOptions.of({name: 0})


@pytest.mark.parametrize(("name", "most"), [("seed", 2**63 - 1), ("workers", 1024)])
def test_a_number_that_no_machine_takes_is_an_error(name: str, most: int) -> None:
    TrainOptions.of({name: most})
    with pytest.raises(DetzooError, match=f"^{name} is {most + 1}; at most {most} is allowed$"):
        TrainOptions.of({name: most + 1})
