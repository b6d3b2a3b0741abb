"""What the pages show of `detzoo diff` is what it prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from detzoo.cli import main

ROOT = Path(__file__).parents[2]
STEPS = re.findall(
    r"^\$ detzoo diff (\S+) (\S+)\n(.*?)^```", (ROOT / "docs" / "from-detr.md").read_text(encoding="utf-8"), re.M | re.S
)


def test_the_page_has_steps() -> None:
    assert len(STEPS) >= 3


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
