"""Names of others in reports: no formula, no HTML, no column; numbers stay numbers."""

from __future__ import annotations

import csv
import io

import pytest

from detzoo.runtime.report_text import csv_cell, csv_text, markdown_text, read_csv_cell
from detzoo.runtime.text_table import Column, Table


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "\n=1", "=", "-", "+", "＝1", "-x", "--1"],
)
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert read_csv_cell(csv_cell(text)) == text
    ((read, number),) = csv.reader(io.StringIO(csv_text([[text, -1.5]]), newline=""))
    assert (read, number) == (f"'{text}", "-1.5")


@pytest.mark.parametrize(
    "value", [-1, -0.5, "-0.5", "+3", "-1e-5", "-.5", "-inf", "cat", "a=b", "'quoted'", "", None, 0]
)
def test_numbers_and_ordinary_text_stay(value: object) -> None:
    assert csv_cell(value) == value
    if isinstance(value, str):
        assert read_csv_cell(value) == value


def test_a_carriage_return_does_not_end_a_row() -> None:
    assert list(csv.reader(io.StringIO(csv_text([["\r=1", "a\r\nb"]]), newline=""))) == [["'\n=1", "a\nb"]]


def test_digits_of_other_scripts_are_no_number() -> None:
    assert csv_cell("-²") == "'-²"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("da<b>ta", "da&lt;b>ta"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("&lt;b>", "&amp;lt;b>"),
        ("R&D", "R&D"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("two\n# lines\r|", r"two # lines \|"),
        ("![x](http://y)", r"![x]\(http://y)"),
        ("", ""),
    ],
)
def test_text_in_markdown(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def test_a_table_of_hostile_names() -> None:
    name = "<img src=x>|=1"
    table = Table(name, [Column("name", name, None), Column("=key", "AP")], [{"name": name, "=key": -1.0}], [name])
    told = table.markdown()
    assert "<img" not in told
    assert [line.count("|") - line.count("\\|") for line in told.splitlines() if line.startswith("|")] == [3, 3, 3]
    assert list(csv.reader(io.StringIO(table.csv()))) == [["name", "'=key"], [name, "-1.0"]]
