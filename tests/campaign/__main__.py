"""``make campaign``: tens of thousands of damaged inputs of every kind; a finding is printed with how to repeat it.

Whatever is read must give a result or one message: no traceback, no warning of a library, no end of the process, no
hang, no more than 3 GiB of memory, no box out of range, no file left behind.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.campaign.kinds import KINDS, make
from tests.campaign.processes import Finding, attempt, run, started

CHUNK = 200
"""Inputs per process: what leaks does not add up."""
KEPT = 3
"""Inputs kept per fault."""


def main() -> int:
    """Run it; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000, help="of all kinds together (default: 50,000)")
    parser.add_argument("--seed", type=int, help="of the mutations (default: one of the day, printed)")
    parser.add_argument("--only", action="append", choices=KINDS, help="kind of input; may be repeated")
    parser.add_argument("--case", type=int, help="one input, in this process, with its traceback")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/campaign"), help="folder of findings (default: runs/campaign)"
    )
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    kinds = arguments.only or list(KINDS)
    if arguments.case is not None:
        return _repeat(kinds[0], seed, arguments.case, arguments.out)
    print(f"seed {seed}", flush=True)
    total = sum(KINDS[kind].share for kind in kinds)
    faults: dict[tuple[str, str, str], list[Finding]] = {}
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        for kind in kinds:
            wanted = round(arguments.inputs * KINDS[kind].share / total)
            _run_kind(kind, seed, wanted, Path(scratch), arguments.out, faults)
    for (what, kind, place), findings in faults.items():
        print(f"{what} {kind} {place}: {len(findings)} inputs, the first: {findings[0].command}")
    print(f"{len(faults)} faults" if faults else "nothing found")
    return 1 if faults else 0


def _run_kind(
    kind: str, seed: int, wanted: int, scratch: Path, out: Path, faults: dict[tuple[str, str, str], list[Finding]]
) -> None:
    counts: Counter[str] = Counter()
    begin = started()
    for first in range(0, wanted, CHUNK):
        folder = scratch / f"{kind}-{first}"
        folder.mkdir()
        for found in run(kind, seed, range(first, min(first + CHUNK, wanted)), folder, counts):
            same = faults.setdefault((found.what, kind, found.place), [])
            same.append(found)
            if len(same) <= KEPT:
                _keep(found, out)
                print(f"  {found.what}: {found.place}\n    {found.command}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    seconds = started() - begin
    told = ", ".join(f"{counts[name]} {name}" for name in ("read", "rejected", "finding"))
    print(f"{kind}: {counts.total()} inputs in {seconds:.0f} s ({told})", flush=True)


def _keep(found: Finding, out: Path) -> None:
    """The input as files, and beside it what happened."""
    folder = out / f"{found.kind}-{found.seed}-{found.case}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "input").mkdir(parents=True)
    try:
        changes = make(found.kind, found.seed, found.case, folder / "input")
    except Exception as error:  # the finding is one of the campaign itself, which goes on
        changes = [f"the input cannot be made: {error!r}"]
    lines = [found.command, found.what, found.place, "", *changes, "", found.text]
    (folder / "finding.txt").write_text("\n".join(lines) + "\n", errors="backslashreplace")


def _repeat(kind: str, seed: int, case: int, out: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        result, found = attempt(kind, seed, case, Path(scratch) / "input")
    if found is None:
        print(result)
        return 0
    _keep(found, out)
    folder = out / f"{kind}-{seed}-{case}"
    print((folder / "finding.txt").read_text(), f"the input is in {folder / 'input'}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
