"""Running the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

import pytest

from detzoo.cli import main
from detzoo.plugins.registry import Registry

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``detzoo`` in this process, with what is installed: exit code, what it printed, what it complained about."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["detzoo", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def run(toy_registry: Registry, installed: Run) -> Run:
    """The same with the toy plugin and the core alone."""
    from detzoo.cli.from_plugins import commands

    commands.cache_clear()
    return installed
