"""The page and the CSV, from rows whose every cell is known."""

from pathlib import Path

from detzoo.matrix.combinations import Combination
from detzoo.matrix.ledger import Row
from detzoo.matrix.outcome import TrialOutcome
from detzoo.matrix.page import alike, csv_text, page, read_csv

ROWS = [
    Row(Combination({"backbone": "a", "neck": "n", "head": "x"}), TrialOutcome("works", "", "recipe_x", False)),
    Row(
        Combination({"backbone": "a", "neck": "n", "head": "y"}),
        TrialOutcome("refused", "head: anchors: sizes are given for 2 maps, but it gets 3: s8, s16", "recipe_y"),
    ),
    Row(
        Combination({"backbone": "b", "neck": "n", "head": "x"}),
        TrialOutcome("refused", "head: anchors: sizes are given for 6 maps, but it gets 3: s8, s32", "recipe_y"),
    ),
    Row(Combination({"backbone": "b", "neck": "n", "head": "y"}), TrialOutcome("broken", "build: crash", "recipe_y")),
    Row(Combination({"head": "x", "matcher": "m"}), TrialOutcome("refused", "no recipe has a place for these parts")),
]


def test_the_empty_matrix() -> None:
    assert csv_text([]) == "backbone,neck,head,matcher,loss,postprocess,status,recipe,values,reason\n"
    assert "\n0 combinations: 0 work, 0 are refused, 0 are broken." in page([])


def test_every_row_comes_back_from_the_csv(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text(csv_text(ROWS))
    assert read_csv(tmp_path / "matrix.csv") == ROWS
    assert csv_text(ROWS[:1]).splitlines()[1] == "a,n,x,,,,works,recipe_x,defaults,"


def test_the_tables() -> None:
    text = page(ROWS)
    assert "5 combinations: 1 work, 3 are refused, 1 are broken." in text
    assert "### Neck `n`\n\n| backbone | x | y |\n|---|:-:|:-:|\n| a | ● | 1 |\n| b | 1 | **broken** |\n" in text
    assert "## Head x matcher\n\n| head | m |\n|---|:-:|\n| x | 2 |\n" in text
    assert text.endswith(
        "## Reasons\n\n"
        "Cells whose reasons differ in names and numbers alone share a number; the first of them stands here, and that "
        "of each\ncombination in [matrix.csv](matrix.csv).\n\n"
        "1. head: anchors: sizes are given for 2 maps, but it gets 3: s8, s16\n"
        "2. no recipe has a place for these parts\n"
    )


def test_reasons_share_a_number_only_where_they_differ_in_names_and_numbers() -> None:
    def needs(part: str, word: str, head: str) -> str:
        which = f'which head "{head}" does not give'
        return f'loss: loss "{part}" needs {word}, {which}; given by {head}'

    assert alike(needs("set", "one_box", "rfcn")) == alike(needs("rfcn", "one_box", "ssd"))
    assert alike(needs("set", "one_box", "rfcn")) != alike(needs("set", "levels", "rfcn"))
    assert alike(needs("set", "sigmoid_scores", "rfcn")) != alike(needs("set", "softmax_scores", "rfcn"))
