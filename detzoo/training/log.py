"""Logs of a training run: ``log.jsonl`` (one line per step), ``curve.csv`` (one line per epoch), and its trackers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import parse_json
from detzoo.runtime.report_text import csv_text

if TYPE_CHECKING:
    from torch import nn

    from detzoo.runtime.drawing import ImageArray
    from detzoo.training.trackers import Trackers

LOG, CURVE = "log.jsonl", "curve.csv"


class RunLog:
    """The files of one run. Lines reach the operating system at once, so that a killed process loses none.

    Args:
        folder: of the run.
        active: False on the processes that only compute.
        trackers: that get the same numbers.
        step: last step that counts: later lines, of a run that was killed after its last checkpoint, are removed.
        epoch: the same for the curve.
        metrics: columns of the curve that trackers show as well.
    """

    def __init__(
        self,
        folder: Path,
        *,
        active: bool,
        trackers: Trackers,
        step: int,
        epoch: int,
        metrics: Sequence[str] = (),
    ) -> None:
        self.folder, self.active, self.metrics, self.trackers = folder, active, tuple(metrics), trackers
        self._file: io.TextIOWrapper | None = None
        if not active:
            return
        _keep_lines(folder / LOG, step)
        _keep_rows(folder, epoch)
        self._file = (folder / LOG).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self.trackers.close(kind)

    def step(self, record: dict[str, Any]) -> None:
        """One optimiser step: ``step``, ``epoch``, ``loss``, ``terms``, ``lr`` and so on."""
        if self._file is None:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()  # to the operating system: a killed process loses no line
        values = {"loss/total": record["loss"]}
        values |= {f"loss/{name}": value for name, value in record["terms"].items()}
        values |= {f"rate/{label}": rate for label, rate in record["rates"].items()}
        self.trackers.step(values, record["step"])

    def epoch(self, row: dict[str, Any], module: nn.Module) -> None:
        """One epoch of the curve; columns that appear later are added to the earlier rows."""
        if self._file is None:
            return
        rows = [*read_curve(self.folder), {k: "" if v is None else str(v) for k, v in row.items()}]
        _write_rows(self.folder / CURVE, rows)
        values = {f"validation/{name}": row[name] for name in self.metrics if row.get(name) is not None}
        self.trackers.epoch(values, row["step"], module)

    @property
    def shows_images(self) -> bool:
        """Whether anybody looks at ``images``."""
        return self.trackers.active

    def images(self, images: dict[str, ImageArray], step: int) -> None:
        """Drawn predictions by name, for the trackers."""
        self.trackers.images(images, step)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not is_ordinary(path):
        return []
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(parse_json(line, path))
        except DataError:
            break  # a line cut short by a kill, and what came after it
    return found


def _keep_lines(path: Path, step: int) -> None:
    if is_ordinary(path):
        kept = "".join(json.dumps(record) + "\n" for record in _read_lines(path) if record["step"] <= step)
        if kept != path.read_text(encoding="utf-8"):
            write_text(path, kept)


def _keep_rows(folder: Path, epoch: int) -> None:
    rows = read_curve(folder)
    kept = [row for row in rows if int(row["epoch"]) <= epoch]  # a resumed run writes the later rows again
    if kept != rows:
        _write_rows(folder / CURVE, kept)


def read_curve(run: Path) -> list[dict[str, str]]:
    """The rows of a run's curve, one per epoch; empty before the first."""
    try:
        with (run / CURVE).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_text(path, csv_text([columns, *([row.get(name, "") for name in columns] for row in rows)]))
