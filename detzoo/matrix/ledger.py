"""``matrix.jsonl``: one line for each combination that was tried, so that an interrupted matrix goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DataError
from detzoo.matrix.combinations import Combination
from detzoo.matrix.outcome import Outcome
from detzoo.registry import get_registry

FORMAT: Final = "detzoo.matrix/1"
LEDGER: Final = "matrix.jsonl"


@dataclass(frozen=True)
class Row:
    """A combination and what came of it."""

    combination: Combination
    outcome: Outcome


def versions() -> list[str]:
    """What decides a matrix: torch, and the distributions that hold components."""
    from importlib.metadata import version

    plugins = {record.distribution for record in get_registry().plugins.usable()}
    return [*sorted(plugins - {""}), f"torch {version('torch')}"]


class Ledger:
    """The rows of a folder; each is on disk before the next is tried.

    Args:
        out: the folder; made where it is missing.

    Raises:
        DataError: it holds something else, or a matrix of other versions.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LEDGER
        self.rows: dict[str, Row] = {}
        if out.is_file() or (out.is_dir() and not self.path.exists() and any(out.iterdir())):
            raise DataError(f"{out} is not empty and no matrix of detzoo (no {LEDGER} in it); choose another --out")
        out.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()
        else:
            self._append({"format": FORMAT, "versions": versions()})

    def add(self, row: Row) -> None:
        """Keep what came of a combination."""
        self.rows[row.combination.key] = row
        self._append({"parts": dict(row.combination.parts)} | asdict(row.outcome))

    def _append(self, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        if lines[-1]:  # killed while it was being written
            self.path.write_bytes(b"".join(line + b"\n" for line in lines[:-1]))
        try:
            first, *rest = [json.loads(line) for line in lines[:-1]]
            if first["format"] != FORMAT:
                raise DataError(f"{self.path}: its format is {first['format']!r}, not {FORMAT!r}; choose another --out")
            made_with = first["versions"]
            for values in rest:
                combination = Combination(values.pop("parts"))
                self.rows[combination.key] = Row(combination, Outcome(**values))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: not a matrix of detzoo ({type(error).__name__}: {error}); choose another --out"
            ) from None
        if made_with != versions():
            raise DataError(
                f"{self.path} was made with {', '.join(made_with)}; installed are {', '.join(versions())}; "
                "choose another --out"
            )


def chosen(combinations: Iterable[Combination], only: dict[str, tuple[str, ...]]) -> list[Combination]:
    """Those whose components are among the wanted ones of each kind; kinds that are not named stay whole."""
    wanted = {kind: names for kind, names in only.items() if names}
    return [one for one in combinations if all(one.parts.get(kind) in names for kind, names in wanted.items())]


__all__ = ["LEDGER", "Ledger", "Row", "chosen", "versions"]
