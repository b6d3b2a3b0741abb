"""The campaign's own rules, and a small one with a fixed seed; ``make campaign`` runs the large one."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

from detzoo.errors import DataError
from tests.campaign import processes, valid_files
from tests.campaign.kinds import KINDS, OVERRIDES, Kind, make, valid_sets
from tests.campaign.mutations import Files

SMALL = 10
"""Inputs of a kind that has a whole share."""


def write(files: Files, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_mutations_start_from_is_read(kind: str, tmp_path: Path) -> None:
    for number, files in enumerate(valid_sets(kind)):
        folder = tmp_path / str(number)
        write(files, folder)
        if KINDS[kind].changes is not None:
            (folder / OVERRIDES).write_text("num_classes=2")
        KINDS[kind].use(folder)


@pytest.mark.parametrize("override", valid_files.SETS)
def test_overrides_that_the_mutations_start_from_are_read(override: str, tmp_path: Path) -> None:
    write({"tiny.yaml": valid_files.TINY.encode(), OVERRIDES: override.encode()}, tmp_path)
    KINDS["set"].use(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found(kind: str, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    found = list(processes.run(kind, 1, range(round(SMALL * KINDS[kind].share)), tmp_path, counts))
    assert [f"{one.command}: {one.text}" for one in found] == []
    assert counts["read"] + counts["rejected"] == round(SMALL * KINDS[kind].share)


def test_an_input_is_the_same_each_time_and_another_for_another_seed(tmp_path: Path) -> None:
    made = []
    for number, (seed, case) in enumerate([(1, 0), (1, 0), (2, 0), (1, 1)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.append(make("recipe", seed, case, folder))
    assert made[0] == made[1]
    assert made[2] != made[0] != made[3]


def fault(number: int, folder: Path) -> None:
    """One fault for each number; then a good input."""
    if number == 0:
        raise ValueError("not one of ours")
    if number == 1:
        os.kill(os.getpid(), 11)
    if number == 2:
        while True:
            pass
    if number == 3:
        bytearray(1 << 40)
    if number == 4:
        (folder / "left.tmp").write_text("x")
    if number == 5:
        warnings.warn("of a library", stacklevel=1)
    if number == 6:
        raise SystemExit(3)
    if number == 7:
        time.sleep(60)
    raise DataError("a message")


def test_every_fault_is_found_and_the_next_input_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(folder: Path) -> None:
        fault(int(folder.name), folder)

    monkeypatch.setitem(KINDS, "faulty", Kind(lambda: [{"x.txt": b"x"}], use))
    monkeypatch.setattr(processes, "CPU_SECONDS", 0.3)
    monkeypatch.setattr(processes, "WALL_SECONDS", 3.0)
    counts: Counter[str] = Counter()
    found = list(processes.run("faulty", 1, range(9), tmp_path, counts))
    whats = ["traceback", "death", "hang", "traceback", "files", "warning", "exit", "hang"]
    assert [(one.case, one.what) for one in found] == list(enumerate(whats))
    assert "SIGSEGV" in found[1].place
    assert "MemoryError" in found[3].place
    assert counts == {"finding": 8, "rejected": 1}
    assert found[0].command == "python -m tests.campaign --seed 1 --only faulty --case 0"
