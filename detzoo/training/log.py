"""Logs of a training run: ``log.jsonl`` (one line per step), ``curve.csv`` (one line per epoch), TensorBoard."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from detzoo.errors import DataError, TrainingError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import parse_json
from detzoo.runtime.report_text import csv_text

if TYPE_CHECKING:
    from torch import nn

LOG, CURVE, BOARD = "log.jsonl", "curve.csv", "tensorboard"
_HISTOGRAMS_EVERY: Final = 1
"""Epochs between histograms of the parameters."""


class RunLog:
    """The files of one run. Lines reach the operating system at once, so that a killed process loses none.

    Args:
        folder: of the run.
        active: False on the processes that only compute.
        board: whether TensorBoard's files are written too.
        step: last step that counts: later lines, of a run that was killed after its last checkpoint, are removed.
        epoch: the same for the curve.
        metrics: columns of the curve that TensorBoard shows as well.
    """

    def __init__(
        self, folder: Path, *, active: bool, board: bool, step: int, epoch: int, metrics: Sequence[str] = ()
    ) -> None:
        self.folder, self.active, self.metrics = folder, active, tuple(metrics)
        self._file: io.TextIOWrapper | None = None
        self._board: Any = None
        if not active:
            return
        _keep_lines(folder / LOG, step)
        _keep_rows(folder, epoch)
        self._board = _open_board(folder / BOARD, step) if board else None
        self._file = (folder / LOG).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def step(self, record: dict[str, Any]) -> None:
        """One optimiser step: ``step``, ``epoch``, ``loss``, ``terms``, ``lr`` and so on."""
        if self._file is None:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()  # to the operating system: a killed process loses no line
        if self._board is not None:
            self._board.add_scalar("loss/total", record["loss"], record["step"])
            for name, value in record["terms"].items():
                self._board.add_scalar(f"loss/{name}", value, record["step"])
            for label, rate in record["rates"].items():
                self._board.add_scalar(f"rate/{label}", rate, record["step"])

    def epoch(self, row: dict[str, Any], module: nn.Module) -> None:
        """One epoch of the curve; columns that appear later are added to the earlier rows."""
        if self._file is None:
            return
        rows = [*read_curve(self.folder), {k: "" if v is None else str(v) for k, v in row.items()}]
        _write_rows(self.folder / CURVE, rows)
        if self._board is not None:
            for name in self.metrics:
                if row.get(name) is not None:
                    self._board.add_scalar(f"validation/{name}", row[name], row["step"])
            if row["epoch"] % _HISTOGRAMS_EVERY == 0:
                for name, value in module.named_parameters():
                    self._board.add_histogram(name, value.detach().float().cpu(), row["step"])
            self._board.flush()


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


def check_board() -> None:
    """Reject before anything is written, where TensorBoard is wanted and cannot be imported.

    Raises:
        TrainingError: it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            f"TensorBoard was asked for and cannot be imported ({error}): pip install detzoo[tensorboard]"
        ) from None


def _open_board(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)  # hides what a killed run wrote after its checkpoint
