"""Inputs are tried in forked processes with limits: one that crashes, hangs or eats memory is a finding, no end."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detzoo.errors import DetzooError
from tests.campaign.kinds import KINDS, make, valid_sets

MEMORY: Final = 3 << 30
"""Bytes of address space beyond those of a process that has everything loaded."""
CPU_SECONDS: Final = 10.0
"""Of one input. An input is a few kilobytes."""
WALL_SECONDS: Final = 120.0
"""After which an input that uses no processor hangs."""
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finding:
    """One input that broke the rules.

    Args:
        kind: of the input.
        seed: of the campaign.
        case: number of the input.
        what: ``traceback``, ``death``, ``hang``, ``files``, ``warning``.
        place: where; findings of one place are one fault.
        text: the traceback, or what is known.
    """

    kind: str
    seed: int
    case: int
    what: str
    place: str
    text: str

    @property
    def command(self) -> str:
        """How to try it again."""
        return f"python -m tests.campaign --seed {self.seed} --only {self.kind} --case {self.case}"


def attempt(kind: str, seed: int, case: int, folder: Path) -> tuple[str, Finding | None]:
    """Write and use one input in this process.

    Returns:
        ``read`` or ``rejected`` (with a message) and None, or ``finding`` and what is wrong.
    """
    folder.mkdir(parents=True)
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    make(kind, seed, case, folder)
    before = _listing(folder)
    result, trouble = "read", None
    kept, tempfile.tempdir = tempfile.tempdir, str(scratch)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            KINDS[kind].use(folder)
        except DetzooError as error:
            result = "rejected"
            if not str(error) or "Traceback" in str(error):
                trouble = ("message", repr(error)[:200], traceback.format_exc())
        except Exception as error:
            trouble = ("traceback", _place(error), traceback.format_exc())
        finally:
            tempfile.tempdir = kept
    if trouble is None and told:
        one = told[0]
        trouble = ("warning", f"{one.category.__name__} {Path(one.filename).name}:{one.lineno}", str(one.message))
    left = sorted({*_listing(folder).items(), *_listing(scratch).items()} ^ set(before.items()))
    if trouble is None and left:
        trouble = ("files", str(left[0][0]).replace(str(folder), ""), f"made, changed or gone: {left}")
    for path in scratch.iterdir():
        shutil.rmtree(path, ignore_errors=True)
    return ("finding", Finding(kind, seed, case, *trouble)) if trouble else (result, None)


def run(kind: str, seed: int, cases: Sequence[int], folder: Path, counts: dict[str, int]) -> Iterator[Finding]:
    """Try inputs in a process of their own; after a death the next one goes on behind the input that caused it.

    Args:
        kind: of the inputs.
        seed: of the campaign.
        cases: their numbers.
        folder: for the inputs, empty.
        counts: how many were ``read``, ``rejected`` and a ``finding``; counted up.
    """
    valid_sets(kind)  # before the fork, so that each process has them
    left = list(cases)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                _work(kind, seed, left, folder, writing)
            finally:
                os._exit(1)  # whatever happened: never on in the caller's own code
        os.close(writing)
        for result in _answers(reading, child):
            case = left.pop(0)
            counts[result["result"]] += 1
            if result["result"] == "finding":
                yield Finding(kind, seed, case, result["what"], result["place"], result["text"])
        _, status = os.waitpid(child, 0)
        os.close(reading)
        if left:  # it has ended before its time
            case = left.pop(0)
            counts["finding"] += 1
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            text = (folder / "fault.txt").read_text(errors="replace") if (folder / "fault.txt").exists() else ""
            what = "hang" if number in (signal.SIGPROF, signal.SIGKILL) else "death"
            ended = signal.Signals(number).name if number else f"exit code {os.WEXITSTATUS(status)}"
            yield Finding(kind, seed, case, what, f"{ended} {_last_place(text)}", f"{ended}\n{text}")
        shutil.rmtree(folder / "inputs", ignore_errors=True)


def _work(kind: str, seed: int, cases: Sequence[int], folder: Path, answers: int) -> None:
    logging.disable()
    os.chdir(folder)
    with open(folder / "fault.txt", "w") as faults:
        faulthandler.enable(faults)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        faulthandler.register(signal.SIGPROF, faults, chain=True)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for case in cases:
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            inside = folder / "inputs" / str(case)
            try:
                result, found = attempt(kind, seed, case, inside)
            except BaseException as error:  # of the campaign itself, or an exit out of the middle of a function
                result, found = "finding", Finding(kind, seed, case, "exit", _place(error), traceback.format_exc())
            signal.setitimer(signal.ITIMER_PROF, 0)
            shutil.rmtree(inside, ignore_errors=True)
            answer = {"result": result}
            if found is not None:
                answer |= {"what": found.what, "place": found.place, "text": found.text}
            os.write(answers, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _answers(reading: int, child: int) -> Iterator[dict[str, str]]:
    """The answers of a process until it ends, or is ended because it hangs."""
    waiting = b""
    while True:
        if not select.select([reading], [], [], WALL_SECONDS)[0]:
            if not _sleeps(child):
                continue  # a busy machine: what uses its processor ends by CPU_SECONDS
            os.kill(child, signal.SIGPROF)  # it writes down where it waits, and ends
            if not select.select([reading], [], [], 10.0)[0]:
                os.kill(child, signal.SIGKILL)
            return
        data = os.read(reading, 1 << 16)
        if not data:
            return
        *lines, waiting = (waiting + data).split(b"\n")
        yield from map(json.loads, lines)


def _sleeps(process: int) -> bool:
    """Whether it waits for something, rather than for a processor."""
    status = Path(f"/proc/{process}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "S"


def _place(error: BaseException) -> str:
    """The exception, and the last line of detzoo's own code on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)]
    core = [frame for frame in own if "campaign" not in frame.filename] or own
    last = core[-1]
    return f"{type(error).__name__} {Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def _last_place(text: str) -> str:
    """The first line of detzoo's own code in what faulthandler has written."""
    return next((line.strip() for line in text.splitlines() if "/detzoo" in line and "campaign" not in line), "")


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in a folder, by path."""
    found = {}
    for here, folders, files in os.walk(folder):
        for name in files + folders:
            path = os.path.join(here, name)
            status = os.lstat(path)
            found[path] = (0, 0) if name in folders else (status.st_size, status.st_mtime_ns)
    return found


def started() -> float:
    """Seconds of a clock that is not set back."""
    return time.monotonic()
