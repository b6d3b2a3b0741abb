"""Problems of a dataset: one line per problem, with file and line, for ``detzoo data check`` and for training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class DataProblem:
    """One defect.

    Args:
        severity: ``error``: something is left out in training, or wrong; ``warning``: handled, but look at it;
            ``info``: harmless, good to know.
        code: short stable name, as ``zero-box``.
        path: file in which it stands.
        line: 1-based line, or None where a line means nothing (images).
        message: what was found, and what detzoo does about it.
        image: the image it concerns, if any.
    """

    severity: Severity
    code: str
    path: str
    line: int | None
    message: str
    image: str | None = None

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.severity}: {self.code}: {self.message}"


@dataclass
class Problems:
    """The list that readers append to."""

    found: list[DataProblem] = field(default_factory=list)

    def error(self, code: str, path: Path | str, line: int | None, message: str, image: str | None = None) -> None:
        """Note an error."""
        self.found.append(DataProblem("error", code, str(path), line, message, image))

    def warning(self, code: str, path: Path | str, line: int | None, message: str, image: str | None = None) -> None:
        """Note a warning."""
        self.found.append(DataProblem("warning", code, str(path), line, message, image))

    def info(self, code: str, path: Path | str, line: int | None, message: str, image: str | None = None) -> None:
        """Note something harmless."""
        self.found.append(DataProblem("info", code, str(path), line, message, image))

    def summary(self) -> str:
        """Errors by code in one line: ``2 zero-box, 1 missing-image``; empty when there are none."""
        counts = Counter(problem.code for problem in self.found if problem.severity == "error")
        return ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))
