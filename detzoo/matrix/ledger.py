"""``matrix.jsonl``: a line for each combination that was tried, the last one counts; so a matrix goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DataError
from detzoo.matrix.combinations import Combination
from detzoo.matrix.outcome import TrialOutcome
from detzoo.plugins.registry import get_registry
from detzoo.runtime.foreign_files import is_there
from detzoo.runtime.json_text import parse_json

FORMAT: Final = "detzoo.matrix/1"
LEDGER: Final = "matrix.jsonl"
NETWORKS: Final = ("torch", "torchvision", "timm")


@dataclass(frozen=True)
class Row:
    """A combination and what came of it."""

    combination: Combination
    outcome: TrialOutcome


def versions() -> list[str]:
    """What decides a matrix: the distributions that hold components, and the packages that networks come from."""
    from importlib.metadata import version
    from importlib.util import find_spec

    plugins = {record.distribution for record in get_registry().plugins.usable()}
    return [*sorted(plugins - {""}), *(f"{name} {version(name)}" for name in NETWORKS if find_spec(name))]


class MatrixLedger:
    """The rows of a folder; each is on disk before the next is tried.

    Args:
        out: the folder.

    Raises:
        DataError: its file is something else, or of other versions.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LEDGER
        self.rows: dict[str, Row] = {}
        header = _line({"format": FORMAT, "versions": versions()})
        written = self.path.read_bytes() if is_there(self.path) else b""
        if header.startswith(written):  # nothing, or killed before its first line was whole
            self.path.write_bytes(header)
        else:
            self._read(written)

    def add(self, row: Row) -> None:
        """Keep what came of a combination."""
        self.rows[row.combination.key] = row
        self._append({"parts": dict(row.combination.parts)} | asdict(row.outcome))

    def of(self, combinations: Iterable[Combination]) -> list[Row]:
        """Rows of those that were tried, in the given order."""
        return [self.rows[one.key] for one in combinations if one.key in self.rows]

    def _append(self, values: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(_line(values))

    def _read(self, written: bytes) -> None:
        place = f"{self.path}: not a matrix of detzoo; choose another --out"
        *whole, cut_off = written.split(b"\n")
        try:
            first, *rest = [parse_json(line, place) for line in whole]
            if first["format"] != FORMAT:
                raise DataError(f"{self.path}: its format is {first['format']!r}, not {FORMAT!r}; choose another --out")
            made_with = first["versions"]
            for values in rest:
                combination = Combination(values.pop("parts"))
                self.rows[combination.key] = Row(combination, TrialOutcome(**values))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: not a matrix of detzoo ({type(error).__name__}: {error}); choose another --out"
            ) from None
        if made_with != versions():
            raise DataError(
                f"{self.path} was made with {', '.join(made_with)}; installed are {', '.join(versions())}; "
                "choose another --out"
            )
        if cut_off:  # killed while it was being written
            self.path.write_bytes(written[: -len(cut_off)])


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values) + "\n").encode()
