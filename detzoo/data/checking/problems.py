"""Problems of a dataset: one line per problem, with file and line, for ``detzoo data check`` and for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]
_OF_IMAGES: Final = ("missing-image", "no-annotation")
"""Codes that every image has where a folder is missing."""
_SEVERAL: Final = 3
"""Images from which on all of them are told in one line."""


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


def gathered(splits: Sequence[tuple[Sequence[DataProblem], int]]) -> list[DataProblem]:
    """Problems of splits; what all images of a split have, or of all splits, becomes one that says how many they are.

    Args:
        splits: the problems of each, and how many images are left in it.
    """
    whole = [problem for problems, _ in splits for problem in problems]
    for code in _OF_IMAGES:
        parts = [[problem for problem in problems if problem.code == code] for problems, _ in splits]
        same = [len(part) >= _SEVERAL and kept in (0, len(part)) for part, (_, kept) in zip(parts, splits, strict=True)]
        if all(same):
            parts, same = [[problem for part in parts for problem in part]], [len(splits) > 0]
        for part in (part for part, alike in zip(parts, same, strict=True) if alike):
            one = replace(part[0], message=f"{part[0].message}; so it is with all {len(part)} images", image=None)
            left = set(part)
            whole = [
                one if problem is part[0] else problem for problem in whole if problem is part[0] or problem not in left
            ]
    return whole
