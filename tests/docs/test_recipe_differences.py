"""What the pages show of `detzoo diff` is what it prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from detzoo.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "docs" / "from-detr.md",
    ROOT / "docs" / "history.md",
    *sorted((ROOT / "docs" / "architectures").glob("*.md")),
]
STEPS = [
    step
    for page in PAGES
    for step in re.findall(r"^\$ detzoo diff (\S+) (\S+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]


def test_the_pages_have_steps() -> None:
    assert len(STEPS) >= 15


@pytest.mark.parametrize(("old", "new", "shown"), STEPS, ids=[f"{old}-{new}" for old, new, _ in STEPS])
def test_lines_are_those_of_the_command_in_its_order(
    old: str, new: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["detzoo", "diff", old, new])
    with pytest.raises(SystemExit):
        main()
    printed = iter(capsys.readouterr().out.splitlines())
    for line in shown.splitlines():
        assert line == "..." or line in printed, line
